"""`parity weights`: which weight of one side is which of the other; weights converted by that plan."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from parity.commands.target import by_name, opened, parse, require_both_sides, running_models
from parity.commands.terminal import bad_input, require_writable, spinner
from parity.numerics.progress import prefixed

if TYPE_CHECKING:
    from parity.numerics.arrays import Arrays
    from parity.weights import Plan


@click.command(epilog="Exit codes: 0 done, 2 error (weights that do not pair up, bad input).")
@click.argument("target", metavar="FILE.py[:FUNCTION]")
@click.option(
    "--to", "side", type=click.Choice(["candidate", "reference"]), default="candidate", show_default=True
)
@click.option("--load", "load_path", metavar="PATH", help="Convert the weights of this safetensors file.")
@click.option("--save", "save_path", metavar="PATH", help="Write the converted weights (safetensors) here.")
def weights(target: str, side: str, load_path: str | None, save_path: str | None) -> None:
    """Print the weight plan of two models; convert weights with it.

    FUNCTION is that of `parity check`. Without --load the weights of the reference itself are converted.

    \b
      parity weights pair.py --save candidate.safetensors
          the reference's weights as the candidate's, by name
      parity weights pair.py --to reference --load candidate.safetensors --save reference.safetensors
          the candidate's weights as the reference's
    """  # noqa: D301 (click wants the character)
    with bad_input(TypeError):
        chosen = parse(target)
        require_writable(save_path)
        if side == "reference" and save_path and not load_path:
            raise ValueError("--to reference needs --load: the candidate's weights, in a safetensors file")
        with spinner(f"{chosen.label}: importing") as progress, opened(chosen) as arguments:
            named = prefixed(progress, chosen.label)
            named("loading the frameworks")
            from parity.pipeline.arguments import sorted_arguments
            from parity.pipeline.pairs import plan_weights
            from parity.weights import load_weights, save_weights

            given = sorted_arguments({**by_name(chosen, arguments), "progress": named})
            require_both_sides(chosen, given)
            wanted = (
                "reference",
                "candidate",
                "inputs",
                "outputs",
                "layout",
                "weights",
                "settings",
                "progress",
            )
            with running_models(chosen):
                plan = plan_weights(**{name: given[name] for name in wanted if name in given})
            lines = list(plan_lines(plan))
            converted: Arrays | None = None
            if load_path or save_path:
                source = load_weights(load_path) if load_path else own_weights(plan, given)
                converted = plan.to_candidate(source) if side == "candidate" else plan.to_reference(source)
            if save_path and converted is not None:
                save_weights(converted, save_path)
    for line in lines:
        click.echo(line)
    if converted is not None:
        what = (
            f"{len(converted)} weights of the {side} written to {save_path}"
            if save_path
            else f"{load_path} fits the plan"
        )
        click.echo(what)


def plan_lines(plan: "Plan") -> Iterator[str]:
    """The plan line by line: both names and shapes, how one becomes the other, and why.

    Args:
        plan: the plan.

    Returns:
        The lines of a table, its head first.
    """
    rows = [
        (
            f"{t.tensor_name} {_shape(t.tensor_shape)}",
            f"{t.leaf_path} {_shape(t.leaf_shape)}",
            t.how,
            t.reason,
        )
        for t in plan.transfers
    ]
    first, second = plan.sides.titles
    head = (second, first, "how", "why") if plan.reversed else (first, second, "how", "why")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(3)]
    for row in (head, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row[:3], widths, strict=True)]
        yield "  ".join([*cells, row[3]]).rstrip()
    for name in plan.unused:
        yield f"{name}: without a leaf, left out"
    for path in plan.missing:
        yield f"{path}: without a tensor, left out"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def own_weights(plan: "Plan", given: Mapping[str, Any]) -> "Arrays":
    """The reference's weights that a plan uses, each in its own dtype.

    Args:
        plan: the plan.
        given: arguments of `parity.check`.
    """
    from parity.frameworks.opening import open_model
    from parity.numerics.arrays import is_float, numpy_dtype, to_numpy

    params = given["weights"].reference_params if "weights" in given else None
    model = open_model(given["reference"], params, {}, default="PyTorch", role="reference")
    used = set(plan.names()) if not plan.reversed else {t.leaf_path for t in plan.transfers}
    own = {name: array for name, array in model.weights.items() if name in used}
    dtypes = model.dtypes
    return {
        name: to_numpy(array).astype(numpy_dtype(dtypes[name])) if is_float(array) else array
        for name, array in own.items()
    }
