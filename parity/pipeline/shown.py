"""A recorded reference with those outputs alone that are compared."""

from collections.abc import Mapping

from parity.numerics.noise import Side, Values


def compared_outputs(side: Side, outputs: Mapping[str, str]) -> Side:
    """A side with the outputs that are compared, under their common names.

    Args:
        side: all that was recorded.
        outputs: common name -> the reference's own.
    """

    def kept(values: Values) -> Values:
        own = values["outputs"]
        return {**values, "outputs": {common: own[name] for common, name in outputs.items() if name in own}}

    return side._replace(base=kept(side.base), moves=kept(side.moves), other=kept(side.other))
