"""A right port, opened and settled by the harness, with its forward pass traced."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from parity.frameworks.jax.jax_model import JaxModel, read_jax
from parity.frameworks.jax.jax_passes import Passes
from parity.frameworks.jax.shapes import shapes_in_jax
from parity.frameworks.jax.trees import flatten
from parity.frameworks.task import Task
from parity.pipeline.arguments import sorted_arguments
from parity.pipeline.candidate import settle_candidate
from parity.pipeline.equal_constants import with_equal_constants
from parity.pipeline.measuring import measured
from parity.pipeline.pinned_sides import pinned_for
from parity.pipeline.reference import open_reference
from parity.pipeline.request import Request

Arrays = Mapping[str, np.ndarray]

Values = dict[tuple[str, str], np.ndarray]
"""Outputs, loss and gradients by group and name."""

ROUNDING = 1e-9
"""Relative difference in float64 up to which two evaluations are the same but for rounding."""

VANISHING = 1e-6
"""Part of the greatest gradient below which a gradient is compared with that instead of with itself."""


class Right(NamedTuple):
    """A right port.

    Attributes:
        arguments: of `parity.check`, flat, without what belongs to the candidate.
        model: the candidate.
        task: what it computes.
        weights: what it is loaded with.
        trained: leaves whose gradients are compared.
        arrays: one set of inputs and targets, in the reference's layout.
        closed: the traced forward pass: leaves by path, then inputs.
        returned: puts flat results back into what the model returns.
    """

    arguments: dict[str, Any]
    model: JaxModel
    task: Task
    weights: Arrays
    trained: tuple[str, ...]
    arrays: Arrays
    closed: ClosedJaxpr
    returned: Callable[[list[Any]], Any]

    @property
    def paths(self) -> list[str]:
        """Paths of the leaves, in the order of the jaxpr's arguments."""
        return sorted(self.model.weights)


def settle(arguments: Mapping[str, Any]) -> Right:
    """Let the harness work out layout, outputs and weights of a right port, and trace its forward pass.

    Args:
        arguments: of `parity.check`, flat.

    Raises:
        TypeError: if the candidate is PyTorch's.
    """
    request = Request.of(**sorted_arguments(arguments))
    with pinned_for(request):
        known = open_reference(request, _quiet)
        known, candidate = with_equal_constants(known, settle_candidate(known, request, _quiet), _quiet)
        if not isinstance(candidate.model, JaxModel):
            raise TypeError("the candidate is PyTorch's; only JAX candidates have a jaxpr to be changed")
        both = measured(known, candidate, None)
        closed, returned = _traced(candidate.model, candidate.task, known.inputs[0])
    rest = {k: v for k, v in arguments.items() if k not in ("candidate", "params", "template", "oracles")}
    rest["layout"] = {**candidate.task.layout, **(arguments.get("layout") or {})}
    trained = tuple(both.candidate_program.moved)
    return Right(
        rest, candidate.model, candidate.task, candidate.weights, trained, known.inputs[0], closed, returned
    )


def _quiet(text: str) -> None:
    """Progress that nobody reads."""


def _traced(model: JaxModel, task: Task, arrays: Arrays) -> tuple[ClosedJaxpr, Callable[[list[Any]], Any]]:
    """The forward pass of the user's model in the user's own dtypes."""
    structure: list[Any] = []

    def forward(leaves: list[Any], inputs: list[Any]) -> list[Any]:
        given = dict(zip(task.inputs, inputs, strict=True))
        out = Passes(model, task).returned(dict(zip(sorted(model.weights), leaves, strict=True)), given)
        flat, tree = jax.tree.flatten(out)
        is_array = [hasattr(leaf, "dtype") for leaf in flat]
        structure[:] = [tree, is_array, [None if here else x for here, x in zip(is_array, flat, strict=True)]]
        return [leaf for leaf, here in zip(flat, is_array, strict=True) if here]

    laid = shapes_in_jax({n: a for n, a in task.laid_out(arrays).items() if n in task.inputs})
    shapes = shapes_in_jax(model.weights)
    closed = jax.make_jaxpr(forward)([shapes[p] for p in sorted(shapes)], [laid[n] for n in task.inputs])
    tree, is_array, plain = structure

    def returned(flat: list[Any]) -> Any:
        values = iter(flat)
        return jax.tree.unflatten(
            tree, [next(values) if here else x for here, x in zip(is_array, plain, strict=True)]
        )

    return closed, returned


def as_function(right: Right, closed: ClosedJaxpr) -> Callable[..., Any]:
    """A candidate `f(params, *inputs)` that evaluates a jaxpr, with the inputs' names in its signature."""
    run, paths, shapes = jaxpr_as_fun(closed), right.paths, [a.shape for a in closed.in_avals]

    def candidate(params: Any, *inputs: Any, **named: Any) -> Any:
        leaves, _ = flatten(params)
        rest = {**dict(zip(right.task.inputs, inputs, strict=False)), **named}
        args = [leaves[path] for path in paths] + [rest[name] for name in right.task.inputs]
        if [tuple(x.shape) for x in args] != shapes:  # in another layout: let the harness try the next
            raise TypeError(f"traced for arguments of the shapes {shapes}")
        cast = [jax.numpy.asarray(x, a.dtype) for x, a in zip(args, closed.in_avals, strict=True)]
        return right.returned(run(*cast))

    candidate.__signature__ = signature(right.task.inputs)  # type: ignore[attr-defined]
    return candidate


def signature(inputs: tuple[str, ...]) -> inspect.Signature:
    """`(params, *inputs)` by name."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in ("params", *inputs)])


def template(right: Right) -> dict[str, Any]:
    """The shapes of the leaves as nested dicts."""
    tree: dict[str, Any] = {}
    for path, leaf in right.model.weights.items():
        *outer, last = path.split("/")
        inner = tree
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = jax.ShapeDtypeStruct(leaf.shape, np.float32)
    return tree


def evaluated(right: Right, closed: ClosedJaxpr) -> Values:
    """Outputs and gradients in float64, without the reference and without judging."""
    task = right.task._replace(rounding=True)
    model = read_jax(as_function(right, closed), template(right), task.laid_out(right.arrays))
    trace = model.program(task, trainable=right.trained).trace(right.weights, right.arrays)
    return {
        (group, name): np.asarray(trace.nodes[index].value)
        for group, leaves in trace.outputs.items()
        for name, index in leaves.items()
    }


def same(one: Values, other: Values) -> bool:
    """Whether two evaluations differ by rounding alone."""
    if one.keys() != other.keys():
        return False
    for key, value in one.items():
        if value.shape != other[key].shape:
            return False
        if value.dtype.kind != "f":
            if not np.array_equal(value, other[key]):
                return False
            continue
        group = [
            np.max(np.abs(v), initial=0.0) for k, v in one.items() if k[0] == key[0] and v.dtype.kind == "f"
        ]
        size = max(float(np.max(np.abs(value), initial=0.0)), VANISHING * float(max(group)))
        if not np.allclose(other[key], value, rtol=0, atol=ROUNDING * (size or 1.0), equal_nan=True):
            return False
    return True
