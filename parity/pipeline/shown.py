"""A recorded reference with those outputs and gradients alone that are compared."""

from collections.abc import Collection, Mapping

from parity.numerics.noise import Side, Values


def compared_part(side: Side, outputs: Mapping[str, str], weights: Collection[str]) -> Side:
    """A side with the outputs that are compared, under their common names, and the gradients of some weights.

    Args:
        side: all that was recorded.
        outputs: common name -> the reference's own.
        weights: names of those that the candidate has, too.
    """

    def kept(values: Values) -> Values:
        own = values["outputs"]
        part = {**values, "outputs": {common: own[name] for common, name in outputs.items() if name in own}}
        if "gradients" in values:  # not of a recording with `stream`
            part["gradients"] = {name: grad for name, grad in values["gradients"].items() if name in weights}
        return part

    return side._replace(base=kept(side.base), moves=kept(side.moves), other=kept(side.other))
