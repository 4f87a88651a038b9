"""`parity weights`: which PyTorch tensor is which JAX leaf, and weights converted from one to the other."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from parity.commands.target import Arguments, opened, parse, require_known, running_models
from parity.commands.terminal import Stage, bad_input, progress, require_writable, under

if TYPE_CHECKING:
    from parity.numerics.arrays import Arrays
    from parity.weights import Plan


@click.command(epilog="Exit codes: 0 done, 2 error (weights that do not pair up, bad input).")
@click.argument("target", metavar="FILE.py[:FUNCTION]")
@click.option("--to", "side", type=click.Choice(["jax", "torch"]), default="jax", show_default=True)
@click.option("--load", "load_path", metavar="PATH", help="Convert the weights of this safetensors file.")
@click.option("--save", "save_path", metavar="PATH", help="Write the converted weights (safetensors) here.")
def weights(target: str, side: str, load_path: str | None, save_path: str | None) -> None:
    """Print the weight plan of two models; convert weights with it.

    FUNCTION is that of `parity check`. Without --load the weights of the model itself are converted.

    \b
      parity weights pair.py --save jax.safetensors
          the PyTorch model's weights as JAX leaves, by path
      parity weights pair.py --to torch --load jax.safetensors --save torch.safetensors
          JAX leaves as a PyTorch state dict
    """  # noqa: D301 (click wants the character)
    with bad_input(TypeError):
        chosen = parse(target)
        require_writable(save_path)
        if side == "torch" and save_path and not load_path:
            raise ValueError("--to torch needs --load: the JAX leaves, by path, in a safetensors file")
        with progress(f"{chosen.label}: importing") as stage, opened(chosen) as arguments:
            told = under(stage, chosen.label)
            told("loading PyTorch and JAX")
            from parity.pipeline.check import check
            from parity.weights import load_weights, save_weights

            require_known(arguments, check, chosen)
            given = by_name(arguments, check)
            with running_models(chosen):
                plan = find_plan(given, told)
            lines = list(table(plan))
            converted: Arrays | None = None
            if load_path or save_path:
                source = load_weights(load_path) if load_path else _own(plan, given)
                converted = convert(plan, source, side)
            if save_path and converted is not None:
                save_weights(converted, save_path)
    for line in lines:
        click.echo(line)
    if converted is not None:
        names = "JAX leaves" if side == "jax" else "PyTorch tensors"
        what = (
            f"{len(converted)} {names} written to {save_path}" if save_path else f"{load_path} fits the plan"
        )
        click.echo(what)


def by_name(arguments: Arguments, function: Callable[..., Any]) -> dict[str, Any]:
    """All arguments of a function by name, its defaults among them."""
    args, kwargs = arguments
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def find_plan(given: Mapping[str, Any], stage: Stage) -> "Plan":
    """The weight plan of `parity.check` with these arguments, which may run both models to settle it."""
    from parity.frameworks.task import Task
    from parity.numerics.precision import pinned
    from parity.pipeline.inputs import name_inputs, sets_of
    from parity.pipeline.preparing import prepare

    arrays, names = name_inputs(sets_of(given["inputs"])[0], given["targets"])
    torch_loss, jax_loss = given["loss"] or (None, None)
    settled = {
        name: given[name]
        for name in ("template", "params", "torch_params", "pins", "allow_unused", "allow_missing", "outputs")
    }
    with pinned(seed=given["seed"]):
        prepared = prepare(
            given["torch_model"],
            given["jax_model"],
            arrays,
            Task(names, torch_loss, jax_loss, {}, given["device"]),
            **settled,
            layout=given["layout"] or {},
            stage=stage,
        )
    plan: Plan = prepared.pair.plan
    return plan


def table(plan: "Plan") -> Iterator[str]:
    """The plan line by line: both names and shapes, how the one becomes the other, and why."""
    rows = [
        (
            f"{t.tensor_name} {_shape(t.tensor_shape)}",
            f"{t.leaf_path} {_shape(t.leaf_shape)}",
            t.how,
            t.reason,
        )
        for t in plan.transfers
    ]
    head = ("PyTorch", "JAX", "how", "why")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(3)]
    for row in (head, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row[:3], widths, strict=True)]
        yield "  ".join([*cells, row[3]]).rstrip()
    for name in plan.unused:
        yield f"{name}: unused, as allowed"
    for path in plan.missing:
        yield f"{path}: without a tensor, as allowed"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _own(plan: "Plan", given: Mapping[str, Any]) -> "Arrays":
    planned = plan.names()
    tensors = own_weights(given["torch_model"], given.get("torch_params"))
    return {name: array for name, array in tensors.items() if name in planned}


def convert(plan: "Plan", source: "Arrays", side: str) -> "Arrays":
    """Weights of one side as those of the other, in the dtype they come in."""
    converted: Arrays = plan.to_leaves(source) if side == "jax" else plan.to_tensors(source)
    return converted


def own_weights(torch_model: Any, torch_params: Mapping[str, Any] | None = None) -> "Arrays":
    """The tensors of a PyTorch model by name, each in its own dtype."""
    from parity.numerics.arrays import hold, is_float, numpy_dtype

    if torch_params is None:
        tensors = {**dict(torch_model.named_buffers()), **dict(torch_model.named_parameters())}
    else:
        tensors = dict(torch_params)
    held = {name: (hold(tensor), str(getattr(tensor, "dtype", ""))) for name, tensor in tensors.items()}
    return {
        name: array.astype(numpy_dtype(dtype.removeprefix("torch."))) if is_float(array) else array
        for name, (array, dtype) in held.items()
    }
