"""Each layer of PyTorch against its counterparts: loaded by the plan, the frameworks' own forwards agree."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from parity.frameworks.jax.trees import flatten
from parity.frameworks.torch.torch_model import read_torch
from parity.weights import Plan, find_plan

RNGS = nnx.Rngs(0)
KEY = jax.random.key(0)
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}  # a few hundred products of float64 numbers of size one


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def randomised(module: nn.Module) -> nn.Module:
    """Every parameter and statistic random, variances positive, in evaluation mode and float64."""
    generator = torch.Generator().manual_seed(0)
    module = module.double().eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) / 2
                tensor.copy_(drawn.abs() + 0.5 if "var" in name else drawn)
    return module


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape)


def load(module: nn.Module, template: Any, **how: Any) -> tuple[Any, Plan]:
    """The template's leaves from the module's weights, by names and shapes alone."""
    read = read_torch(module)
    leaves, tree = flatten(template)
    plan = find_plan(read.signatures, {path: tuple(leaf.shape) for path, leaf in leaves.items()}, **how)
    weights = {name: array for name, array in read.weights.items() if name not in plan.unused}
    filled = {path: jnp.asarray(array) for path, array in plan.to_leaves(weights).items()}
    assert set(filled) == set(leaves)
    return tree.build(filled), plan


Forward = Callable[[Any], Any]


def of_nnx(make: Callable[[], Any], call: Callable[[Any, Any], Any] = lambda model, x: model(x)) -> Any:
    def build(module: nn.Module, **how: Any) -> tuple[Forward, Plan]:
        graph, state, rest = nnx.split(make(), (nnx.Param, nnx.BatchStat), ...)
        pure, plan = load(module, nnx.to_pure_dict(state), **how)
        nnx.replace_by_pure_dict(state, pure)
        model = nnx.merge(graph, state, rest)
        model.eval()
        return lambda x: call(model, x), plan

    return build


def of_linen(model: linen.Module, x: np.ndarray, *more: Any) -> Any:
    def build(module: nn.Module, **how: Any) -> tuple[Forward, Plan]:
        template = jax.eval_shape(lambda: model.init(KEY, jnp.asarray(x), *more))
        variables, plan = load(module, template, **how)
        return lambda x: model.apply(variables, x, *more), plan

    return build


def of_equinox(make: Callable[[], Any], call: Callable[[Any, Any], Any] | None = None) -> Any:
    def build(module: nn.Module, **how: Any) -> tuple[Forward, Plan]:
        arrays, static = eqx.partition(make(), eqx.is_inexact_array)
        filled, plan = load(module, arrays, **how)
        model = eqx.combine(filled, static)
        return (lambda x: call(model, x)) if call else jax.vmap(model), plan

    return build


def agree(
    module: nn.Module, build: Any, x: np.ndarray, last: bool, how: dict[str, Any] | None = None
) -> Plan:
    """Both forwards on x, which JAX gets with channels last if `last`; the plan."""
    forward, plan = build(module, **(how or {}))
    with torch.no_grad():
        wanted = module(torch.from_numpy(x))
    wanted = (wanted[0] if isinstance(wanted, tuple) else wanted).numpy()
    actual = np.asarray(forward(jnp.asarray(np.moveaxis(x, 1, -1) if last else x)))
    actual = np.moveaxis(actual, -1, 1) if last else actual
    np.testing.assert_allclose(actual, wanted, **TOLERANCE)
    assert np.ptp(wanted) > 0.01
    return plan


X = normal(4, 6)
IMAGE = normal(2, 4, 7, 8)


class Heads(linen.Module):
    """A linear layer into heads and one back."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.DenseGeneral(5, axis=(-2, -1))(linen.DenseGeneral((2, 3))(x))


def heads() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 5))


class Embedded(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.Embed(7, 5)(x)


LINEAR: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "nnx": (lambda: nn.Linear(6, 5), of_nnx(lambda: nnx.Linear(6, 5, rngs=RNGS))),
    "linen": (lambda: nn.Linear(6, 5), of_linen(linen.Dense(5), X)),
    "equinox": (lambda: nn.Linear(6, 5), of_equinox(lambda: eqx.nn.Linear(6, 5, key=KEY))),
    "square": (lambda: nn.Linear(6, 6), of_linen(linen.Dense(6), X)),
    "heads": (heads, of_linen(Heads(), X)),
    "lazy": (lambda: nn.LazyLinear(5), of_linen(linen.Dense(5), X)),
    "layer norm": (
        lambda: nn.LayerNorm(6),
        of_linen(linen.LayerNorm(epsilon=1e-5, use_fast_variance=False), X),
    ),
    "layer norm, nnx": (
        lambda: nn.LayerNorm(6),
        of_nnx(lambda: nnx.LayerNorm(6, epsilon=1e-5, use_fast_variance=False, rngs=RNGS)),
    ),
    "layer norm, equinox": (lambda: nn.LayerNorm(6), of_equinox(lambda: eqx.nn.LayerNorm(6))),
    "rms norm": (lambda: nn.RMSNorm(6, eps=1e-5), of_linen(linen.RMSNorm(epsilon=1e-5), X)),
    "rms norm, nnx": (
        lambda: nn.RMSNorm(6, eps=1e-5),
        of_nnx(lambda: nnx.RMSNorm(6, epsilon=1e-5, rngs=RNGS)),
    ),
    "prelu": (lambda: nn.PReLU(), of_linen(linen.PReLU(), X)),
    "prelu, nnx": (lambda: nn.PReLU(), of_nnx(lambda: nnx.PReLU())),
    "prelu, equinox": (lambda: nn.PReLU(), of_equinox(lambda: eqx.nn.PReLU())),
}


@pytest.mark.parametrize("case", LINEAR)
def test_layers_of_vectors(case: str) -> None:
    make, build = LINEAR[case]
    module = make()
    if case == "lazy":
        module(torch.from_numpy(X).float())
    agree(randomised(module), build, X, last=False)


def test_embeddings() -> None:
    tokens = np.array([[1, 0, 6], [3, 3, 2]])
    module = randomised(nn.Embedding(7, 5))
    for build in (
        of_linen(Embedded(), tokens),
        of_nnx(lambda: nnx.Embed(7, 5, param_dtype=jnp.float64, rngs=RNGS)),
        of_equinox(lambda: eqx.nn.Embedding(7, 5, key=KEY), lambda m, x: jax.vmap(jax.vmap(m))(x)),
    ):
        agree(module, build, tokens, last=False)


CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SPREAD = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@pytest.mark.parametrize(("rank", "channels", "groups"), [(1, 6, 1), (2, 8, 2), (2, 4, 4), (3, 8, 4)])
def test_convolutions(rank: int, channels: int, groups: int) -> None:
    x = normal(2, 4, *(5, 6, 7)[:rank])
    size = (2, 3, 1)[:rank]
    module = randomised(CONV[rank](4, channels, size, groups=groups))
    flax = {"kernel_size": size, "feature_group_count": groups, "padding": "VALID"}
    agree(module, of_nnx(lambda: nnx.Conv(4, channels, rngs=RNGS, **flax)), x, last=True)
    if rank == 2:
        agree(module, of_linen(linen.Conv(channels, **flax), np.moveaxis(x, 1, -1)), x, last=True)
    agree(
        module,
        of_equinox(lambda: eqx.nn.Conv(rank, 4, channels, size, groups=groups, key=KEY)),
        x,
        last=False,
    )


@pytest.mark.parametrize(("rank", "turned"), [(1, False), (1, True), (2, False), (2, True), (3, False)])
def test_transposed_convolutions_run_backwards_unless_lax_turns_them(rank: int, turned: bool) -> None:
    x = normal(2, 4, *(3, 4, 2)[:rank])
    size = (3, 2, 1)[:rank]
    module = randomised(SPREAD[rank](4, 6, size, stride=2))
    flax = {
        "kernel_size": size,
        "strides": (2,) * rank,
        "padding": [(n - 1, n - 1) for n in size],  # PyTorch's padding of none
        "transpose_kernel": turned,
    }
    agree(module, of_nnx(lambda: nnx.ConvTranspose(4, 6, rngs=RNGS, **flax)), x, last=True)
    if rank == 2:
        agree(module, of_linen(linen.ConvTranspose(6, **flax), np.moveaxis(x, 1, -1)), x, last=True)


@pytest.mark.parametrize("groups", [1, 2])
def test_equinox_transposed_convolutions_with_groups(groups: int) -> None:
    module = randomised(nn.ConvTranspose2d(4, 8, 3, stride=2, padding=1, groups=groups))
    make = lambda: eqx.nn.ConvTranspose2d(4, 8, 3, stride=2, padding=1, groups=groups, key=KEY)  # noqa: E731
    plan = agree(module, of_equinox(make), IMAGE, last=False)
    assert "flip" in plan.transfers[0].how


def test_norms_of_images() -> None:
    flax = {"epsilon": 1e-5, "use_fast_variance": False}
    last = np.moveaxis(IMAGE, 1, -1)
    batch = randomised(nn.BatchNorm2d(4))
    agree(batch, of_nnx(lambda: nnx.BatchNorm(4, rngs=RNGS, **flax)), IMAGE, last=True)
    agree(batch, of_linen(linen.BatchNorm(use_running_average=True, **flax), last), IMAGE, last=True)
    group = randomised(nn.GroupNorm(2, 4))
    agree(group, of_nnx(lambda: nnx.GroupNorm(4, 2, rngs=RNGS, **flax)), IMAGE, last=True)
    agree(group, of_linen(linen.GroupNorm(2, **flax), last), IMAGE, last=True)
    agree(group, of_equinox(lambda: eqx.nn.GroupNorm(2, 4)), IMAGE, last=False)
    instance = randomised(nn.InstanceNorm2d(4, affine=True))
    agree(instance, of_nnx(lambda: nnx.InstanceNorm(4, rngs=RNGS, **flax)), IMAGE, last=True)
    agree(instance, of_linen(linen.InstanceNorm(**flax), last), IMAGE, last=True)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attn(x, x, x, need_weights=False)[0]


def equinox_attention(model: Any, x: Any) -> Any:
    return jax.vmap(lambda rows: model(rows, rows, rows))(x)


def attend(query: Any, key: Any, value: Any, **_: Any) -> Any:
    """Flax's own attention, whose fused default computes the softmax in float32."""
    weights = linen.dot_product_attention_weights(query, key)
    return jnp.einsum("nhts,nshd->nthd", weights, value)


def test_packed_attention_splits_into_the_heads_of_each_framework() -> None:
    x = normal(2, 5, 6)
    module = randomised(Attention())
    wide = {"decode": False, "param_dtype": jnp.float64, "rngs": RNGS, "attention_fn": attend}
    agree(module, of_nnx(lambda: nnx.MultiHeadAttention(2, 6, **wide)), x, last=False)
    agree(module, of_linen(linen.MultiHeadDotProductAttention(2), x), x, last=False)
    build = of_equinox(
        lambda: eqx.nn.MultiheadAttention(
            2,
            6,
            use_query_bias=True,
            use_key_bias=True,
            use_value_bias=True,
            use_output_bias=True,
            key=KEY,
        ),
        equinox_attention,
    )
    with pytest.raises(ValueError, match="is square"):  # Equinox may or may not keep PyTorch's layout
        build(module)
    tried: list[Plan] = []

    def as_wanted(plan: Plan) -> float:
        tried.append(plan)
        return sum(t.axes == (0, 1) for t in plan.transfers) / 4

    plan = agree(module, build, x, last=False, how={"try_plan": as_wanted})
    assert len(tried) == 5  # as it was, and one matrix after the other
    assert plan.names()["attn.in_proj_bias"].count(",") == 2
