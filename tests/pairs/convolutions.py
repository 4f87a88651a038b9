"""Right ports of convolutions of one to three dimensions, with groups, strides, dilation, and transposed."""

from typing import Any

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import torch
from flax import nnx
from torch import nn
from torch.nn import functional as F

from tests.kit.conversion import conv, dense, equinox
from tests.kit.inputs import NDHWC, NHWC, NWC, normal
from tests.kit.pairs import Pair, built, to_function
from tests.kit.weights import randomise, weights
from tests.pairs.ports import port

KEY = jax.random.key(0)
LAYOUTS = {1: NWC, 2: NHWC, 3: NDHWC}
NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


class Convs(nn.Module):
    """A strided and padded convolution, a dilated one with groups, a pooled head."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
        self.first = layer(3, 8, 3, stride=2, padding=1)
        self.second = layer(8, 12, 2, groups=4, dilation=2, bias=False)
        self.depthwise = layer(12, 12, 1, groups=12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.depthwise(F.relu(self.second(F.relu(self.first(x))))))
        return self.head(x.flatten(2).mean(2))


SIZES = {1: (2, 3, 17), 2: (2, 3, 9, 12), 3: (2, 3, 6, 7, 8)}


def convs_params(t: Any) -> Any:
    return {n: conv(t, n) for n in ("first", "second", "depthwise")} | {"head": dense(t, "head")}


def convolve(
    p: Any, x: jax.Array, padding: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> jax.Array:
    rank = x.ndim - 2
    out = jax.lax.conv_general_dilated(
        x,
        p["kernel"],
        (stride,) * rank,
        [(padding, padding)] * rank,
        rhs_dilation=(dilation,) * rank,
        dimension_numbers=NUMBERS[rank],
        feature_group_count=groups,
    )
    return out + p["bias"] if "bias" in p else out


def pooled(x: jax.Array) -> jax.Array:
    return x.mean(axis=tuple(range(1, x.ndim - 1)))


def convs_plain(rank: int) -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(convolve(p["first"], x, 1, stride=2))
        x = jax.nn.relu(convolve(p["second"], x, 0, dilation=2, groups=4))
        x = jax.nn.relu(convolve(p["depthwise"], x, 0, groups=12))
        return pooled(x) @ p["head"]["kernel"] + p["head"]["bias"]

    reference = randomise(Convs(rank))
    params = convs_params(weights(reference))
    return to_function(reference, apply, {"x": normal(*SIZES[rank])}, params, layout={"x": LAYOUTS[rank]})


def convs_nnx(rank: int) -> Pair:
    one, two, three = (1,) * rank, (2,) * rank, (3,) * rank

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Conv(3, 8, three, strides=2, padding=1, rngs=rngs)
            self.second = nnx.Conv(
                8,
                12,
                two,
                padding="VALID",
                kernel_dilation=2,
                feature_group_count=4,
                use_bias=False,
                rngs=rngs,
            )
            self.depthwise = nnx.Conv(12, 12, one, feature_group_count=12, rngs=rngs)
            self.head = nnx.Linear(12, 5, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            for layer in (self.first, self.second, self.depthwise):
                x = nnx.relu(layer(x))
            return self.head(pooled(x))

    reference = randomise(Convs(rank))
    params = convs_params(weights(reference))
    return Pair(reference, built(Net), {"x": normal(*SIZES[rank])}, params, layout={"x": LAYOUTS[rank]})


def convs_linen(rank: int) -> Pair:
    one, two, three = (1,) * rank, (2,) * rank, (3,) * rank

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = linen.relu(linen.Conv(8, three, strides=2, padding=1)(x))
            second = linen.Conv(
                12, two, padding="VALID", kernel_dilation=2, feature_group_count=4, use_bias=False
            )
            x = linen.relu(second(x))
            x = linen.relu(linen.Conv(12, one, feature_group_count=12)(x))
            return linen.Dense(5)(pooled(x))

    reference = randomise(Convs(rank))
    p = convs_params(weights(reference))
    params = {"Conv_0": p["first"], "Conv_1": p["second"], "Conv_2": p["depthwise"], "Dense_0": p["head"]}
    inputs = {"x": normal(*SIZES[rank])}
    return Pair(reference, Net(), inputs, {"params": params}, layout={"x": LAYOUTS[rank]})


def convs_equinox(rank: int) -> Pair:
    class Net(eqx.Module):
        layers: list[eqx.nn.Conv]
        head: eqx.nn.Linear

        def __init__(self) -> None:
            self.layers = [
                eqx.nn.Conv(rank, 3, 8, 3, stride=2, padding=1, key=KEY),
                eqx.nn.Conv(rank, 8, 12, 2, groups=4, dilation=2, use_bias=False, key=KEY),
                eqx.nn.Conv(rank, 12, 12, 1, groups=12, key=KEY),
            ]
            self.head = eqx.nn.Linear(12, 5, key=KEY)

        def __call__(self, x: jax.Array) -> jax.Array:
            for layer in self.layers:
                x = jax.nn.relu(layer(x))
            return self.head(x.mean(axis=tuple(range(1, x.ndim))))

    reference = randomise(Convs(rank))
    t = weights(reference)
    params = equinox(t, "head", "head")
    for i, name in enumerate(("first", "second", "depthwise")):
        params |= equinox(t, name, f"layers/{i}", rank)
    return Pair(reference, Net(), {"x": normal(*SIZES[rank])}, params)


for _rank in (1, 2, 3):
    for _kind, _make in (
        ("plain", convs_plain),
        ("nnx", convs_nnx),
        ("linen", convs_linen),
        ("equinox", convs_equinox),
    ):
        port(f"conv{_rank}d/{_kind}")(lambda rank=_rank, make=_make: make(rank))


@port("conv2d/images-out")
def _() -> Pair:
    """One layer, whose output is an image in each framework's layout."""
    reference = randomise(nn.Conv2d(3, 5, (3, 2), padding=(1, 0)))
    t = weights(reference)
    params = {"kernel": t["weight"].transpose(2, 3, 1, 0), "bias": t["bias"]}
    layer = nnx.Conv(3, 5, (3, 2), padding=((1, 1), (0, 0)), rngs=nnx.Rngs(0))
    pick = (lambda out: out.movedim(1, -1), None)
    return Pair(reference, layer, {"x": normal(2, 3, 7, 8)}, params, layout={"x": NHWC}, outputs=pick)


@port("conv2d/nchw")
def _() -> Pair:
    """A port that keeps PyTorch's layouts of images and kernels."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = jax.lax.conv_general_dilated(x, p["w"], (1, 2), [(1, 1), (0, 0)])
        return jnp.tanh(x + p["b"][:, None, None])

    reference = randomise(nn.Sequential(nn.Conv2d(3, 5, (3, 2), stride=(1, 2), padding=(1, 0)), nn.Tanh()))
    t = weights(reference)
    return to_function(reference, apply, {"x": normal(2, 3, 7, 8)}, {"w": t["0.weight"], "b": t["0.bias"]})


class Ups(nn.Module):
    """Transposed convolutions: with stride and padding, and a square one."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1)
        self.same = nn.ConvTranspose2d(6, 6, 2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.same(torch.tanh(self.up(x))))
        return self.head(x.movedim(1, -1))


UPS = {"x": normal(2, 4, 5, 7)}


def flipped(t: Any, name: str) -> Any:
    """(in, out, H, W) to (H, W, in, out), turned round in space."""
    return {"kernel": t[f"{name}.weight"][:, :, ::-1, ::-1].transpose(2, 3, 0, 1), "bias": t[f"{name}.bias"]}


def transposed(t: Any, name: str) -> Any:
    """(in, out, H, W) to (H, W, out, in): the kernel of the convolution whose gradient this is."""
    return {"kernel": t[f"{name}.weight"].transpose(2, 3, 1, 0), "bias": t[f"{name}.bias"]}


@port("conv-transpose/plain")
def _() -> Pair:
    def up(p: Any, x: jax.Array, stride: int, padding: int) -> jax.Array:
        reach = p["kernel"].shape[0] - 1 - padding
        out = jax.lax.conv_general_dilated(
            x,
            p["kernel"],
            (1, 1),
            [(reach, reach)] * 2,
            lhs_dilation=(stride, stride),
            dimension_numbers=NUMBERS[2],
        )
        return jnp.tanh(out + p["bias"])

    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = up(p["same"], up(p["up"], x, 2, 1), 1, 0)
        return x @ p["head"]["kernel"] + p["head"]["bias"]

    reference = randomise(Ups())
    t = weights(reference)
    params = {"up": flipped(t, "up"), "same": flipped(t, "same"), "head": dense(t, "head")}
    return to_function(reference, apply, UPS, params, layout={"x": NHWC})


@port("conv-transpose/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.up = nnx.ConvTranspose(4, 6, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)), rngs=rngs)
            self.same = nnx.ConvTranspose(6, 6, (2, 2), padding="VALID", rngs=rngs)
            self.head = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.head(jnp.tanh(self.same(jnp.tanh(self.up(x)))))

    reference = randomise(Ups())
    t = weights(reference)
    params = {"up": flipped(t, "up"), "same": flipped(t, "same"), "head": dense(t, "head")}
    return Pair(reference, built(Net), UPS, params, layout={"x": NHWC})


@port("conv-transpose/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            options: dict[str, Any] = {"transpose_kernel": True}
            x = linen.ConvTranspose(6, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)), **options)(x)
            x = linen.ConvTranspose(6, (2, 2), padding="VALID", **options)(jnp.tanh(x))
            return linen.Dense(3)(jnp.tanh(x))

    reference = randomise(Ups())
    t = weights(reference)
    params = {
        "ConvTranspose_0": transposed(t, "up"),
        "ConvTranspose_1": transposed(t, "same"),
        "Dense_0": dense(t, "head"),
    }
    return Pair(reference, Net(), UPS, {"params": params}, layout={"x": NHWC})


@port("conv-transpose/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        up: eqx.nn.ConvTranspose2d
        same: eqx.nn.ConvTranspose2d
        head: eqx.nn.Linear

        def __init__(self) -> None:
            self.up = eqx.nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, key=KEY)
            self.same = eqx.nn.ConvTranspose2d(6, 6, 2, key=KEY)
            self.head = eqx.nn.Linear(6, 3, key=KEY)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = jnp.tanh(self.same(jnp.tanh(self.up(x))))
            return jax.vmap(jax.vmap(self.head))(jnp.moveaxis(x, 0, -1))

    reference = randomise(Ups())
    t = weights(reference)
    params = equinox(t, "head", "head")
    for name in ("up", "same"):
        params[f"{name}/weight"] = t[f"{name}.weight"][:, :, ::-1, ::-1].swapaxes(0, 1)
        params[f"{name}/bias"] = t[f"{name}.bias"][:, None, None]
    return Pair(reference, Net(), UPS, params)


@port("conv-transpose/one-dimension")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        out = jax.lax.conv_transpose(x, p["kernel"], (3,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))
        return jnp.tanh(out + p["bias"]).sum(axis=2)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose1d(4, 6, 5, stride=3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.up(x)).sum(dim=1)

    reference = randomise(Net())
    t = weights(reference)
    params = {"kernel": t["up.weight"][:, :, ::-1].transpose(2, 0, 1), "bias": t["up.bias"]}
    return to_function(reference, apply, {"x": normal(2, 4, 7)}, params, layout={"x": NWC})


@port("conv-transpose/groups")
def _() -> Pair:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.up(x)).mean(dim=(2, 3))

    class Up(eqx.Module):
        layer: eqx.nn.ConvTranspose2d

        def __call__(self, x: jax.Array) -> jax.Array:
            return jnp.tanh(self.layer(x)).mean(axis=(1, 2))

    reference = randomise(Net())
    t = weights(reference)
    model = Up(eqx.nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, key=KEY))
    # (in, out / groups) to (out, in / groups), group by group.
    grouped = t["up.weight"][:, :, ::-1, ::-1].reshape(2, 2, 3, 3, 3).swapaxes(1, 2).reshape(6, 2, 3, 3)
    params = {"layer/weight": grouped, "layer/bias": t["up.bias"][:, None, None]}
    return Pair(reference, model, UPS, params)
