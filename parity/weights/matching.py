"""Find the plan: pair PyTorch tensors with JAX leaves by name, layer kind, shape and number.

Three passes, each an assignment problem over what the one before left: tensors whose module path and role
are the same on both sides; then weights; then biases and statistics, which follow the module of their
weight. Numbers in names (`layers_2` before `layers_10`) are evidence of order. The alphabet is not: JAX
sorts dicts by key. Where two plans fit equally well nothing is guessed: the candidates are listed with the
line that pins one.
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

MARGIN = 0.05
"""Two plans whose costs are closer than this are a tie."""

ROLES = {
    "weight": ("weight", "kernel", "w", "scale", "embedding", "gamma"),
    "bias": ("bias", "b", "beta", "offset", "shift"),
    "mean": ("mean", "running_mean"),
    "variance": ("var", "variance", "running_var"),
}
"""What the last part of a name says about a tensor's role; digits at its end are ignored."""


IDENTITY = ("Embedding", "EmbeddingBag")
"""Layers whose matrices lie the same way in both frameworks."""


class Signature(NamedTuple):
    """One PyTorch tensor as the matcher sees it.

    Attributes:
        shape: its shape.
        layer: class name of the module that owns it ("Linear", "Conv2d", ...), "" for a bare tensor.
    """

    shape: Shape
    layer: str = ""


Tensors = Mapping[str, Signature]
Shapes = Mapping[str, Shape]
Pins = Mapping[str, str | tuple[str, tuple[int, ...]]]
"""What the user knows of the plan: PyTorch name -> JAX path, or -> (JAX path, permutation)."""


def find_plan(
    torch_tensors: Tensors,
    jax_shapes: Shapes,
    *,
    pins: Pins | None = None,
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
    matched = {name: _pinned(name, pin, torch_tensors, jax_shapes) for name, pin in (pins or {}).items()}
    pinned = [transfer.jax_path for transfer in matched.values()]
    if len(set(pinned)) < len(pinned):
        raise WeightError(f"`pins` uses a JAX leaf twice: {', '.join(sorted(pinned))}")
    names = [n for n in torch_tensors if n not in matched and n not in allow_unused]
    paths = [p for p in sorted(jax_shapes, key=natural) if p not in pinned and p not in allow_missing]
    faults: list[str] = []
    matched |= _same_names(names, paths, torch_tensors, jax_shapes)
    for only_weights in (True, False):
        taken = {transfer.jax_path for transfer in matched.values()}
        some_names = [n for n in names if n not in matched and (not only_weights or role(n) == "weight")]
        some_paths = [p for p in paths if p not in taken and (not only_weights or role(p) == "weight")]
        found, ties = _assign(some_names, some_paths, torch_tensors, jax_shapes, matched)
        matched |= found
        faults += ties
    _require_complete(names, paths, matched, torch_tensors, jax_shapes)
    faults += [
        f"{t.torch_name!r} {t.torch_shape} is square: it fits {t.jax_path!r} as it is, (0, 1), and "
        "transposed, (1, 0)"
        for t in matched.values()
        if t.reason != "pinned" and _undecided(t, torch_tensors[t.torch_name])
    ]
    if faults:
        raise WeightError(
            "the weights can be paired in more than one way:\n  "
            + "\n  ".join(dict.fromkeys(faults))
            + "\nSay which with pins={torch_name: jax_path} or pins={torch_name: (jax_path, axes)}"
        )
    return Plan(
        tuple(matched[name] for name in torch_tensors if name in matched),
        unused=tuple(name for name in torch_tensors if name in allow_unused and name not in matched),
        missing=tuple(path for path in jax_shapes if path in allow_missing and path not in pinned),
    )


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which `layers_2` comes before `layers_10`."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def layouts(tensor: Signature, jax_shape: Shape) -> list[tuple[tuple[int, ...], str]]:
    """(axes, reason) of every layout change from a tensor to a JAX shape, the most usual first.

    A layer's kind decides where it can: a linear weight is (out, in) in PyTorch and (in, out) in JAX,
    also when it is square. For bare matrices both orientations remain.
    """
    rank = len(tensor.shape)
    identity = tuple(range(rank))
    options: list[tuple[tuple[int, ...], str]] = [(identity, "same shape")]
    if tensor.layer == "Linear" and rank == 2:
        options = [((1, 0), "linear: (out, in) to (in, out)"), (identity, "linear, kept as (out, in)")]
    elif re.fullmatch(r"Conv[123]d", tensor.layer) and rank > 2:
        options = [((*range(2, rank), 1, 0), "convolution: (out, in, ...) to (..., in, out)")]
    elif rank == 2 and tensor.layer not in IDENTITY:
        options.append(((1, 0), "transposed"))
    permuted = [(axes, why, tuple(tensor.shape[a] for a in axes)) for axes, why in options]
    fits = [(axes, why) for axes, why, shape in permuted if shape == jax_shape]
    if not fits:
        reshaped = "axes of length one added or removed"
        fits = [(axes, reshaped) for axes, _, shape in permuted if _squeeze(shape) == _squeeze(jax_shape)]
    return fits


def role(name: str) -> str:
    """What a name says a tensor is: weight, bias, mean, variance, or "" when it says nothing."""
    last = re.split(r"[./]", name)[-1].lower()
    stem = re.sub(r"_?\d+$", "", last)
    return next((kind for kind, words in ROLES.items() if stem in words), "")


def owner(name: str) -> tuple[str, ...]:
    """The words and numbers of the module that owns a tensor: `layers.2.attn.weight` -> layers, 2, attn."""
    parts = re.split(r"[./]", name)[:-1]
    return tuple(re.findall(r"[a-z]+|\d+", "/".join(parts).lower()))


def _same_names(
    names: list[str], paths: list[str], torch_tensors: Tensors, jax_shapes: Shapes
) -> dict[str, Transfer]:
    """Tensors with the same module path and role on both sides, once each."""
    ours = [(owner(name), role(name)) for name in names]
    theirs = [(owner(path), role(path)) for path in paths]
    pairs = {}
    for name, key in zip(names, ours, strict=True):
        if key[1] and ours.count(key) == theirs.count(key) == 1:
            path = paths[theirs.index(key)]
            options = layouts(torch_tensors[name], jax_shapes[path])
            if options:
                tensor = torch_tensors[name]
                pairs[name] = Transfer(name, path, tensor.shape, jax_shapes[path], *options[0])
    return pairs


def _assign(
    names: list[str],
    paths: list[str],
    torch_tensors: Tensors,
    jax_shapes: Shapes,
    matched: Mapping[str, Transfer],
) -> tuple[dict[str, Transfer], list[str]]:
    """The cheapest pairing of some tensors, and the pairs of tensors that could be exchanged in it."""
    from scipy.optimize import linear_sum_assignment

    owners = {owner(t.torch_name): owner(t.jax_path) for t in matched.values()}
    costs = np.full((len(names), len(paths)), IMPOSSIBLE)
    found = {}
    places, targets = _numbers(names, torch_tensors), _numbers(paths, jax_shapes)
    for (i, name), (j, path) in itertools.product(enumerate(names), enumerate(paths)):
        tensor, shape = torch_tensors[name], jax_shapes[path]
        options = layouts(tensor, shape)
        if not options:
            continue
        roles = {role(name), role(path)}
        costs[i, j] = (
            100.0 * (len(roles) == 2 and "" not in roles)
            + 20.0 * (owner(name) in owners and owners[owner(name)] != owner(path))
            + 10.0 * ("length one" in options[0][1])
            + 3.0 * (1 - _similarity(name, path))
            + min(1.0, 0.5 * abs(places[i] - targets[j]))
        )
        found[i, j] = Transfer(name, path, tensor.shape, shape, *options[0])
    rows, columns = linear_sum_assignment(costs)
    chosen = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if costs[i, j] < 100.0]
    ties = [
        f"{names[i]!r} and {names[k]!r} fit {paths[j]!r} and {paths[m]!r} either way"
        for (i, j), (k, m) in itertools.combinations(chosen, 2)
        if costs[i, m] + costs[k, j] <= costs[i, j] + costs[k, m] + MARGIN
    ]
    return {names[i]: found[i, j] for i, j in chosen}, ties


def _numbers(names: list[str], tensors: Tensors | Shapes) -> list[int]:
    """Each name's place among those that differ from it in numbers alone and have its lengths."""

    def family(name: str) -> tuple[object, ...]:
        tensor = tensors[name]
        shape = tensor.shape if isinstance(tensor, Signature) else tensor
        return re.sub(r"\d+", "#", name), tuple(sorted(_squeeze(shape)))

    families = [family(name) for name in names]
    return [families[:i].count(kind) for i, kind in enumerate(families)]


def _pinned(
    name: str,
    pin: str | tuple[str, tuple[int, ...]],
    torch_tensors: Tensors,
    jax_shapes: Shapes,
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


def _require_complete(
    names: list[str],
    paths: list[str],
    matched: Mapping[str, Transfer],
    torch_tensors: Tensors,
    jax_shapes: Shapes,
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


def _undecided(transfer: Transfer, tensor: Signature) -> bool:
    """Whether nothing says which way a square matrix lies."""
    lengths = _squeeze(tensor.shape)
    if len(lengths) != 2 or lengths[0] != lengths[1] or tensor.layer in IDENTITY:
        return False
    if tensor.layer == "Linear":  # Equinox keeps PyTorch's layout and its name
        return transfer.jax_path.rpartition("/")[2] == "weight"
    return len(tensor.shape) == 2


def _similarity(name: str, path: str) -> float:
    """Share of the words that two module paths have in common; numbers count for the order alone."""
    first, second = ({word for word in owner(text) if word.isalpha()} for text in (name, path))
    return len(first & second) / max(1, len(first | second))


def _squeeze(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
