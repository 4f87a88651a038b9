"""The pairs of cases run in float64 without the harness, to check what the cases declare."""

import copy
import importlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import torch

from tests.faults.declare import HERE
from tests.kit.conversion import Convert
from tests.kit.pairs import Pair
from tests.kit.weights import weights


class Converted(Protocol):
    """What these runs need of a case: how its weights are converted; None: the names are equal."""

    convert: Convert | None


def worst(actual: Any, expected: Any) -> float:
    """Largest difference over the largest magnitude, of any output; infinite where shapes or NaN differ."""
    differences = [0.0]
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        if ours.shape != theirs.shape or (np.isnan(ours) != np.isnan(theirs)).any():
            return np.inf
        with np.errstate(invalid="ignore"):
            apart = np.where(ours == theirs, 0, np.abs(ours.astype(float) - theirs.astype(float)))
        finite = np.where(np.isfinite(theirs), theirs, 0)
        differences.append(np.nanmax(apart, initial=0) / max(np.nanmax(np.abs(finite), initial=0), 1e-30))
    return max(differences)


def torch_run(pair: Pair) -> Any:
    """Outputs of the PyTorch model in float64."""
    given = [lifted(np.asarray(value)) for value in pair.inputs.values()]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            tensors = [torch.from_numpy(np.array(value)) for value in given]
            out = copy.deepcopy(pair.reference).double()(*tensors)
    finally:
        torch.set_default_dtype(default)
    return jax.tree.map(lambda value: value.numpy(), out, is_leaf=torch.is_tensor)


def jax_run(case: Converted, pair: Pair) -> Any:
    """Outputs of the JAX model in float64, with the weights converted as the case says."""
    with jax.enable_x64(True):
        call, params = jax_function(case, pair)
        return jax.device_get(jax.jit(call)(params))


def jax_function(case: Converted, pair: Pair) -> tuple[Any, Any]:
    """The JAX side as a function of its leaves by path, and these leaves, in float64."""
    model = pair.candidate
    layout = pair.layout or {}
    given = [lifted(v.transpose(layout[n]) if n in layout else v) for n, v in pair.inputs.items()]
    tree, apply = pair.template if pair.params is None else pair.params, model
    if is_a(model, "flax.nnx", "Module"):
        from flax import nnx

        graph, state = nnx.split(model)
        tree = nnx.to_pure_dict(state)

        def apply(params: Any, *args: Any) -> Any:
            full = nnx.clone(state)
            nnx.replace_by_pure_dict(full, params)
            return nnx.merge(graph, full)(*args)

    elif is_a(model, "flax.linen", "Module"):
        apply = model.apply
    elif is_a(model, "equinox", "Module"):
        import equinox

        tree, static = equinox.partition(model, equinox.is_inexact_array)

        def apply(params: Any, *args: Any) -> Any:
            return equinox.combine(params, static)(*args)

    elif isinstance(model, tuple):  # Haiku's (init, apply)
        apply = model.apply
    leaves, structure = leaves_of(tree)
    if pair.params is None:
        own = {name: lifted(array) for name, array in weights(pair.reference).items()}
        converted = case.convert(own) if case.convert else own
        unknown = set(converted) ^ set(leaves) if case.convert else set(leaves) - set(converted)
        assert not unknown, f"convert and the template differ in {sorted(unknown)}"
        for path, leaf in leaves.items():
            assert np.shape(converted[path]) == tuple(leaf.shape), path
        leaves = {path: converted[path] for path in leaves}
    own = {path: lifted(np.asarray(leaf)) for path, leaf in leaves.items()}

    def call(own: Any) -> Any:
        params = jax.tree.unflatten(structure, [own[path] for path in leaves])  # jit sorts a dict's keys
        return apply(params, *[jax.numpy.asarray(value) for value in given])

    return call, own


def author_lines(jaxpr: Any) -> Iterator[tuple[str, int]]:
    """(file, line) in a row module at which each equation was written."""
    for equation in jaxpr.eqns:
        frames = equation.source_info.traceback.frames if equation.source_info.traceback else []
        own = [f for f in frames if Path(f.file_name).parent == HERE and f.file_name != __file__]
        yield from [(frame.file_name, frame.line_num) for frame in own[:1]]
        if equation.primitive.name not in ("jit", "pjit"):  # inside are cached lines of other callers
            for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    yield from author_lines(inner)


def gradients_differ(case: Converted, right: Pair, faulty: Pair) -> float:
    """How far JAX's gradients lie from PyTorch's, along a random direction in each tensor (relative)."""
    module = copy.deepcopy(right.reference).double()
    given = [torch.from_numpy(np.array(lifted(value))) for value in right.inputs.values()]
    loss = sum((out * torch.from_numpy(probe(out.shape))).sum() for out in tensors_of(module(*given)))
    names = [name for name, _ in module.named_parameters()]
    slopes = dict(zip(names, torch.autograd.grad(loss, list(module.parameters())), strict=True))
    own = {name: array.astype(float) for name, array in weights(right.reference).items()}
    convert = case.convert or dict
    with jax.enable_x64(True):
        call, leaves = jax_function(case, faulty)

        def jax_loss(leaves: Any) -> Any:
            return sum((out * probe(out.shape)).sum() for out in jax.tree.leaves(call(leaves)))

        grads = jax.jit(jax.grad(jax_loss))(leaves)
        apart = 0.0
        for name, slope in slopes.items():
            step = probe(slope.shape, seed=7)
            moved = convert({**own, name: own[name] + step})
            still = convert(own)
            ours = sum(float(((moved[path] - still[path]) * grads[path]).sum()) for path in grads)
            theirs = float((slope.detach().numpy() * step).sum())
            scale = float(np.abs(slope.detach().numpy() * step).sum())
            gap = abs(ours - theirs) / max(scale, 1e-30)
            apart = max(apart, gap if np.isfinite(gap) else np.inf)  # max() would drop NaN
    return apart


def probe(shape: Any, seed: int = 0) -> np.ndarray:
    seed += zlib.crc32(str(tuple(shape)).encode())
    return np.random.default_rng(seed).standard_normal(tuple(shape))


def tensors_of(out: Any) -> list[torch.Tensor]:
    return [leaf for leaf in jax.tree.leaves(out, is_leaf=torch.is_tensor) if leaf.is_floating_point()]


def lifted(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64) if np.issubdtype(value.dtype, np.floating) else value


def leaves_of(tree: Any) -> tuple[dict[str, Any], Any]:
    with_paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    path_of = jax.tree_util.keystr
    return {path_of(path, simple=True, separator="/"): leaf for path, leaf in with_paths}, structure


def is_a(model: Any, module: str, name: str) -> bool:
    return isinstance(model, getattr(importlib.import_module(module), name))
