"""Find the plan: pair PyTorch tensors with JAX leaves by layer kind, shape, name and order.

One assignment problem over all tensors. A pair is possible when a layout change leads from one shape to
the other; its cost says how far names and order speak against it. Pairs the user pins are taken first.
Where two plans cost the same, nothing is guessed: the candidates are listed with the line that pins one.
"""

import itertools
import math
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from parity.weights.plan import Plan, Shape, Transfer, WeightError

IMPOSSIBLE = 1e6
"""Cost of a pair whose shapes no known layout change connects."""

ROLES = {
    "weight": ("weight", "kernel", "w", "scale", "embedding", "gamma"),
    "bias": ("bias", "b", "beta", "offset", "shift"),
    "mean": ("mean", "running_mean"),
    "variance": ("var", "variance", "running_var"),
}
"""What the last part of a name says about a tensor's role; digits at its end are ignored."""


class Signature(NamedTuple):
    """One PyTorch tensor as the matcher sees it.

    Attributes:
        shape: its shape.
        layer: class name of the module that owns it ("Linear", "Conv2d", ...), "" for a bare tensor.
    """

    shape: Shape
    layer: str = ""


def find_plan(
    torch_tensors: Mapping[str, Signature],
    jax_shapes: Mapping[str, Shape],
    *,
    pins: Mapping[str, str | tuple[str, tuple[int, ...]]] | None = None,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
) -> Plan:
    """The plan that pairs every tensor with a leaf.

    Args:
        torch_tensors: PyTorch's tensors by name, in definition order.
        jax_shapes: JAX's leaf shapes by path.
        pins: what the user knows: PyTorch name -> JAX path, or -> (JAX path, permutation).
        allow_unused: PyTorch tensors that may stay without a leaf.
        allow_missing: JAX leaves that may stay without a tensor.

    Raises:
        WeightError: naming every tensor that is unused, missing or ambiguous, with its candidates.
    """
    pinned = [_pinned(name, pin, torch_tensors, jax_shapes) for name, pin in (pins or {}).items()]
    taken = {transfer.jax_path for transfer in pinned}
    if len(taken) < len(pinned):
        raise WeightError(f"`pins` uses a JAX leaf twice: {sorted(t.jax_path for t in pinned)}")
    names = [n for n in torch_tensors if n not in (pins or {}) and n not in allow_unused]
    paths = [p for p in sorted(jax_shapes, key=natural) if p not in taken and p not in allow_missing]
    costs, found = _costs(names, paths, torch_tensors, jax_shapes)
    chosen = _assign(costs)
    matched = {names[i]: found[i, j] for i, j in chosen if costs[i, j] < IMPOSSIBLE}
    matched |= {transfer.torch_name: transfer for transfer in pinned}
    _require_complete(names, paths, matched, torch_tensors, jax_shapes)
    _require_unique(names, paths, matched, costs, found, chosen)
    return Plan(
        tuple(matched[name] for name in torch_tensors if name in matched),
        unused=tuple(name for name in torch_tensors if name in allow_unused),
        missing=tuple(path for path in jax_shapes if path in allow_missing and path not in taken),
    )


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which `layers_2` comes before `layers_10`."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def layouts(tensor: Signature, jax_shape: Shape) -> list[tuple[tuple[int, ...], str]]:
    """(axes, reason) of every layout change from a tensor to a JAX shape, the most usual first.

    A layer's kind decides where it can: a linear weight is (out, in) in PyTorch and (in, out) in JAX,
    also when it is square. Only for bare tensors do both orientations remain.
    """
    rank = len(tensor.shape)
    identity = tuple(range(rank))
    options: list[tuple[tuple[int, ...], str]]
    if tensor.layer in ("Linear", "LazyLinear") and rank == 2:
        options = [((1, 0), "linear: (out, in) to (in, out)")]
    elif re.fullmatch(r"(Lazy)?Conv[123]d", tensor.layer) and rank > 2:
        options = [((*range(2, rank), 1, 0), "convolution: (out, in, ...) to (..., in, out)")]
    elif tensor.layer == "" and rank == 2:
        options = [(identity, "same shape"), ((1, 0), "transposed")]
    elif tensor.layer == "":
        options = [(identity, "same shape")]
    else:
        options = [(identity, f"as in {tensor.layer}")]
    fits = [(axes, why) for axes, why in options if tuple(tensor.shape[a] for a in axes) == jax_shape]
    if (
        not fits
        and math.prod(tensor.shape) == math.prod(jax_shape)
        and _squeeze(tensor.shape) == _squeeze(jax_shape)
    ):
        fits = [(identity, "axes of length one added or removed")]
    return fits


def role(name: str) -> str:
    """What a name says a tensor is: weight, bias, mean, variance, or "" when it says nothing."""
    last = re.split(r"[./]", name)[-1].lower()
    stem = re.sub(r"_?\d+$", "", last)
    return next((kind for kind, words in ROLES.items() if stem in words), "")


def _pinned(
    name: str,
    pin: str | tuple[str, tuple[int, ...]],
    torch_tensors: Mapping[str, Signature],
    jax_shapes: Mapping[str, Shape],
) -> Transfer:
    path, axes = (pin, None) if isinstance(pin, str) else pin
    if name not in torch_tensors or path not in jax_shapes:
        known = list(torch_tensors) if name not in torch_tensors else list(jax_shapes)
        wrong = name if name not in torch_tensors else path
        raise WeightError(f"`pins` names {wrong!r}, which does not exist; there are {', '.join(known)}")
    tensor, shape = torch_tensors[name], jax_shapes[path]
    if axes is None:
        options = layouts(tensor, shape)
        axes = options[0][0] if options else tuple(range(len(tensor.shape)))
    if sorted(axes) != list(range(len(tensor.shape))) or math.prod(tensor.shape) != math.prod(shape):
        raise WeightError(
            f"`pins` takes {name!r} {tensor.shape} to {path!r} {shape} by {axes}, which cannot fit"
        )
    return Transfer(name, path, tensor.shape, shape, tuple(axes), "pinned")


def _costs(
    names: list[str],
    paths: list[str],
    torch_tensors: Mapping[str, Signature],
    jax_shapes: Mapping[str, Shape],
) -> tuple[np.ndarray, dict[tuple[int, int], Transfer]]:
    """Cost of every pair: 100 for another role, 10 for a reshape, up to 1 for order and names each.

    Order counts among tensors of one size and role: the third square kernel goes to the third.
    """
    costs = np.full((len(names), len(paths)), IMPOSSIBLE)
    found = {}
    place = _ranks([(name, torch_tensors[name].shape) for name in names])
    target = _ranks([(path, jax_shapes[path]) for path in paths])
    for (i, name), (j, path) in itertools.product(enumerate(names), enumerate(paths)):
        tensor, shape = torch_tensors[name], jax_shapes[path]
        options = layouts(tensor, shape)
        if not options:
            continue
        axes, why = options[0]
        roles = {role(name), role(path)}
        cost = 100.0 * (len(roles) == 2 and "" not in roles)
        cost += 10.0 * ("length one" in why)
        cost += abs(place[i] - target[j]) + (1 - _similarity(name, path))
        costs[i, j] = cost
        found[i, j] = Transfer(name, path, tensor.shape, shape, axes, why)
    return costs, found


def _ranks(tensors: list[tuple[str, Shape]]) -> list[float]:
    """Each tensor's place, from 0 to below 1, among those with the same lengths and role."""
    kinds = [(role(name), tuple(sorted(_squeeze(shape)))) for name, shape in tensors]
    return [kinds[:i].count(kind) / kinds.count(kind) for i, kind in enumerate(kinds)]


def _assign(costs: np.ndarray) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True)]


def _require_complete(
    names: list[str],
    paths: list[str],
    matched: Mapping[str, Transfer],
    torch_tensors: Mapping[str, Signature],
    jax_shapes: Mapping[str, Shape],
) -> None:
    used = {transfer.jax_path for transfer in matched.values()}
    unused = [f"unused PyTorch tensor {n!r} {torch_tensors[n].shape}" for n in names if n not in matched]
    missing = [f"missing JAX leaf {p!r} {jax_shapes[p]}" for p in paths if p not in used]
    if unused or missing:
        raise WeightError(
            "the weights of the two models do not pair up:\n  "
            + "\n  ".join(unused + missing)
            + "\nPin pairs with pins={torch_name: jax_path}, or allow tensors by name with "
            "allow_unused=[...] and allow_missing=[...]"
        )


def _require_unique(
    names: list[str],
    paths: list[str],
    matched: Mapping[str, Transfer],
    costs: np.ndarray,
    found: Mapping[tuple[int, int], Transfer],
    chosen: list[tuple[int, int]],
) -> None:
    """No two tensors may be exchanged at no cost, and no square bare matrix may be left undecided."""
    faults = []
    for (i, j), (k, m) in itertools.combinations(chosen, 2):
        if (
            (i, m) in found
            and (k, j) in found
            and costs[i, m] + costs[k, j] <= costs[i, j] + costs[k, m] + 1e-9
        ):
            faults.append(f"{names[i]!r} and {names[k]!r} fit {paths[j]!r} and {paths[m]!r} either way")
    for i, j in chosen:
        if (i, j) in found and _undecided(found[i, j]):
            faults.append(
                f"{names[i]!r} {found[i, j].torch_shape} is square and bare: it fits {paths[j]!r} as it is, "
                "(0, 1), and transposed, (1, 0)"
            )
    if faults:
        raise WeightError(
            "the weights can be paired in more than one way:\n  "
            + "\n  ".join(faults)
            + "\nSay which with pins={torch_name: jax_path} or pins={torch_name: (jax_path, axes)}"
        )


def _undecided(transfer: Transfer) -> bool:
    """Whether nothing says which way a square matrix of no layer in particular lies."""
    shape = transfer.torch_shape
    square = len(shape) == 2 and shape[0] == shape[1] > 1
    return square and transfer.reason == "same shape" and role(transfer.jax_path) == "weight"


def _similarity(name: str, path: str) -> float:
    """Share of the words that two names have in common; numbers count for the order alone."""
    first, second = (set(re.findall(r"[a-z]+", text.lower())) for text in (name, path))
    return len(first & second) / max(1, len(first | second))


def _squeeze(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
