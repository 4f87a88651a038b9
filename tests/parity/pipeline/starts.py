"""Models to draw for `check_init`: right ports, in several libraries, and one fault each."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from jaxnn import initializers
from jaxnn.initializers import layer_defaults

Draw = Callable[..., Any]


def tree(draws: dict[str, tuple[Draw, tuple[int, ...]]], *, split: bool = True) -> Callable[[jax.Array], Any]:
    """Params drawn by initializers: path -> (initializer, shape), each from a key of its own unless told."""

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, len(draws)) if split else [key] * len(draws)
        params: dict[str, Any] = {}
        for one, (path, (draw, shape)) in zip(keys, draws.items(), strict=True):
            *parents, last = path.split("/")
            inside = params
            for parent in parents:
                inside = inside.setdefault(parent, {})
            inside[last] = draw(one, shape)
        return params

    return jax.jit(init)  # drawn 64 times


def dense(name: str, num_inputs: int, num_outputs: int) -> dict[str, tuple[Draw, tuple[int, ...]]]:
    draw = layer_defaults.linear(num_inputs)
    shapes = {"kernel": (num_inputs, num_outputs), "bias": (num_outputs,)}
    return {f"{name}/{leaf}": (draw[leaf], shape) for leaf, shape in shapes.items()}


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(12, 32)
        self.norm = nn.LayerNorm(32)
        self.down = nn.Linear(32, 12)


NORM = {"norm/scale": (initializers.ones, (32,)), "norm/bias": (initializers.zeros, (32,))}
MLP = {**dense("up", 12, 32), **NORM, **dense("down", 32, 12)}


class LinenMlp(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for name, sizes in (("up", (12, 32)), ("down", (32, 12))):
            draw = layer_defaults.linear(sizes[0])
            x = linen.Dense(sizes[1], kernel_init=draw["kernel"], bias_init=draw["bias"], name=name)(x)
            x = linen.LayerNorm(name="norm")(x) if name == "up" else x
        return x


class NnxMlp(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        def layer(*sizes: int) -> nnx.Linear:
            draw = layer_defaults.linear(sizes[0])
            return nnx.Linear(*sizes, kernel_init=draw["kernel"], bias_init=draw["bias"], rngs=rngs)

        self.up, self.norm, self.down = layer(12, 32), nnx.LayerNorm(32, rngs=rngs), layer(32, 12)


class FlaxMlp(nnx.Module):
    """I01, I02: Flax's defaults in the place of PyTorch's."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(12, 32, rngs=rngs)
        self.norm = nnx.LayerNorm(32, rngs=rngs)
        self.down = nnx.Linear(32, 12, rngs=rngs)


@jax.jit
def in_linen(key: jax.Array) -> Any:
    return LinenMlp().init(key, jnp.zeros((1, 12)))


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 32, 3)


def conv(kernel: Draw | None = None) -> Callable[[jax.Array], Any]:
    draw = layer_defaults.conv((3, 3, 8, 32))
    return tree(
        {"conv/kernel": (kernel or draw["kernel"], (3, 3, 8, 32)), "conv/bias": (draw["bias"], (32,))}
    )


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 16, padding_idx=0)


def table(padding_idx: int | None = 0) -> Callable[[jax.Array], Any]:
    return tree({"embed/embedding": (layer_defaults.embedding(padding_idx)["embedding"], (40, 16))})


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(24, 4)


def attention(kernel: Draw | None = None) -> Callable[[jax.Array], Any]:
    draw = layer_defaults.multi_head_attention(24)
    leaves = {}
    for name in ("query", "key", "value", "out"):
        own = draw[name]["kernel"] if kernel is None or name == "out" else kernel
        leaves[f"attention/{name}/kernel"] = (own, (24, 24))
        leaves[f"attention/{name}/bias"] = (draw[name]["bias"], (24,))
    return tree(leaves)


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(12, 16)


def lstm(recurrent: Draw | None = None, forget: Draw | None = None) -> Callable[[jax.Array], Any]:
    """The leaves of Flax's `OptimizedLSTMCell`: one bias for the two of PyTorch."""
    draw = layer_defaults.recurrent(16)
    leaves = {}
    for gate in "ifgo":
        leaves[f"cell/i{gate}/kernel"] = (draw["kernel"], (12, 16))
        leaves[f"cell/h{gate}/kernel"] = (recurrent or draw["recurrent_kernel"], (16, 16))
        own = forget if forget is not None and gate == "f" else draw["summed_bias"]
        leaves[f"cell/h{gate}/bias"] = (own, (16,))
    return tree(leaves)


def packed_lstm(forget_bias: float = 0.0) -> Callable[[jax.Array], Any]:
    """A cell that keeps PyTorch's packing."""
    draw = layer_defaults.recurrent(16)

    def bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return draw["bias"](key, shape).at[16:32].add(forget_bias)

    return tree(
        {
            "cell/weight_ih_l0": (draw["kernel"], (64, 12)),
            "cell/weight_hh_l0": (draw["recurrent_kernel"], (64, 16)),
            "cell/bias_ih_l0": (bias, (64,)),
            "cell/bias_hh_l0": (draw["bias"], (64,)),
        }
    )


class Stack(nn.Module):
    """Four equal layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))


STACK = {path: one for layer in range(4) for path, one in dense(f"layers/{layer}", 16, 16).items()}


class Relu(nn.Module):
    """I04: Kaiming's rule with the gain of ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(32, 32)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")


class Orthogonal(nn.Module):
    """I07."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(24, 40, bias=False)
        nn.init.orthogonal_(self.hidden.weight, 2**0.5)


class Block(nn.Module):
    """I08: the last scale of a residual branch starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        nn.init.zeros_(self.bn1.weight)


def block(scale: Draw) -> Callable[[jax.Array], Any]:
    def init(key: jax.Array) -> Any:
        kernel = layer_defaults.conv((3, 3, 4, 4))["kernel"](key, (3, 3, 4, 4))
        norm = {"scale": scale(key, (4,)), "bias": jnp.zeros(4)}
        statistics = {"bn1": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}
        return {"params": {"conv1": {"kernel": kernel}, "bn1": norm}, "batch_stats": statistics}

    return jax.jit(init)


class Deep(nn.Module):
    """I13: GPT-2's smaller start of the projections into the residual stream, of 12 layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(24, 96, bias=False)
        self.proj = nn.Linear(96, 24, bias=False)
        nn.init.normal_(self.fc.weight, 0.0, 0.02)
        nn.init.normal_(self.proj.weight, 0.0, 0.02 / math.sqrt(24))


def deep(scale: float = 1 / math.sqrt(24)) -> Callable[[jax.Array], Any]:
    return tree(
        {
            "fc/kernel": (initializers.normal(0.02), (24, 96)),
            "proj/kernel": (initializers.normal(0.02 * scale), (96, 24)),
        }
    )


class Head(nn.Module):
    """I16: a detector's head whose bias starts at the prior of an object."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 9)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.constant_(self.head.bias, -math.log((1 - 0.01) / 0.01))


def head(bias: Draw) -> Callable[[jax.Array], Any]:
    return tree({"head/kernel": (initializers.normal(0.01), (16, 9)), "head/bias": (bias, (9,))})


PRIOR = initializers.constant(-math.log((1 - 0.01) / 0.01))

RIGHT: dict[str, tuple[Any, Any]] = {
    "mlp": (Mlp, tree(MLP)),
    "linen": (Mlp, in_linen),
    "nnx": (Mlp, NnxMlp),
    "linen and nnx": (
        in_linen,
        lambda key: {"params": nnx.to_pure_dict(nnx.state(NnxMlp(nnx.Rngs(key)), nnx.Param))},
    ),
    "torch and torch": (Mlp, Mlp),
    "reversed": (NnxMlp, Mlp),
    "conv": (Conv, conv()),
    "embedding": (Table, table()),
    "attention": (Attention, attention()),
    "lstm": (Lstm, lstm()),
    "packed lstm": (Lstm, packed_lstm()),
    "stack": (Stack, tree(STACK)),
    "relu": (
        Relu,
        tree(
            {
                **dense("hidden", 32, 32),
                "hidden/kernel": (initializers.kaiming_normal(nonlinearity="relu"), (32, 32)),
            }
        ),
    ),
    "orthogonal": (Orthogonal, tree({"hidden/kernel": (initializers.orthogonal(2**0.5), (24, 40))})),
    "block": (Block, block(initializers.zeros)),
    "deep": (Deep, deep()),
    "head": (Head, head(PRIOR)),
}


def hidden(draw: Draw, *shape: int) -> Callable[[jax.Array], Any]:
    return tree({**dense("hidden", *shape), "hidden/kernel": (draw, shape)})


def swapped_axes(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """I05: the rule for (O, I, h, w) on a kernel (h, w, I, O)."""
    return initializers.torch_uniform(math.prod(shape[1:]))(key, shape)


def unsigned(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """I07: the gain is left out."""
    return initializers.orthogonal()(key, shape)


FAULTS: dict[str, tuple[Any, Any, set[str], list[str]]] = {
    "I01": (
        Mlp,
        tree({**MLP, "up/kernel": (jax.nn.initializers.lecun_normal(), (12, 32))}),
        {"up.weight"},
        [r"a ratio of 1\.7., about sqrt\(3\)", r"1/sqrt\(fan_in 12\)", "lecun_normal"],
    ),
    "I01 in nnx": (
        Mlp,
        FlaxMlp,
        {"up.weight", "up.bias", "down.weight", "down.bias"},
        [r"sqrt\(3\)", "JAX sets it to 0", "Flax leaves biases at zero"],
    ),
    "I02": (
        Mlp,
        tree({**MLP, "down/bias": (initializers.zeros, (12,))}),
        {"down.bias"},
        [r"PyTorch draws uniformly up to \+-0\.177 \(1/sqrt\(fan_in 32\)\), JAX sets it to 0"],
    ),
    "I04": (
        Relu,
        hidden(initializers.kaiming_normal(nonlinearity="linear"), 32, 32),
        {"hidden.weight"},
        [r"a ratio of 1\.4., about sqrt\(2\)", r"sqrt\(2/fan_in 32\)"],
    ),
    "I04 uniform": (
        Relu,
        hidden(initializers.kaiming_uniform(nonlinearity="relu"), 32, 32),
        {"hidden.weight"},
        ["equal std", "a normal distribution", "JAX draws uniformly"],
    ),
    "I04 truncated": (
        Relu,
        hidden(jax.nn.initializers.he_normal(), 32, 32),
        {"hidden.weight"},
        ["equal std", "a truncated normal distribution"],
    ),
    "I05": (Conv, conv(swapped_axes), {"conv.weight"}, ["fan_in read from the wrong axes, 768"]),
    "I05 fan_out": (
        Conv,
        conv(jax.nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")),
        {"conv.weight"},
        ["a ratio of 2", r"1/sqrt\(fan_out 288\)"],
    ),
    "I07 gain": (
        Orthogonal,
        tree({"hidden/kernel": (unsigned, (24, 40))}),
        {"hidden.weight"},
        [r"sqrt\(2\)", r"orthogonally, gain 1\.41", "gain 1;"],
    ),
    "I07 none": (
        Orthogonal,
        tree({"hidden/kernel": (initializers.normal((2 / 40) ** 0.5), (24, 40))}),
        {"hidden.weight"},
        ["one side is orthogonal", "draw it orthogonally"],
    ),
    "I08": (
        Block,
        block(initializers.ones),
        {"bn1.weight"},
        ["PyTorch sets it to 0, JAX sets it to 1", "residual"],
    ),
    "I11": (
        Lstm,
        lstm(recurrent=initializers.orthogonal()),
        {f"cell.weight_hh_l0[{n}:{n + 16}]" for n in (0, 16, 32, 48)},
        ["JAX draws orthogonally, gain 1", r"1/sqrt\(hidden units 16\)"],
    ),
    "I11 forget": (
        Lstm,
        lstm(forget=initializers.ones),
        {"cell.bias_ih_l0[16:32] + cell.bias_hh_l0[16:32]"},
        ["JAX sets it to 1", "forget gate"],
    ),
    "I11 packed": (
        Lstm,
        packed_lstm(1.0),
        {"cell.bias_ih_l0"},
        ["entries 16 to 31 of 64, the forget gate"],
    ),
    "I13": (Deep, deep(1.0), {"proj.weight"}, [r"a ratio of 4\.8., about sqrt\(24\)"]),
    "I14": (
        Stack,
        tree(STACK, split=False),
        {f"layers.{n}.{leaf}" for n in range(4) for leaf in ("weight", "bias")},
        ["the same numbers", "split it"],
    ),
    "I16": (
        Head,
        head(initializers.zeros),
        {"head.bias"},
        [r"PyTorch sets it to -4\.6 \(-log\(\(1 - p\)/p\) for p = 0\.01\), JAX sets it to 0"],
    ),
    "padding": (Table, table(None), {"embed.weight"}, ["row 0 is 0 in every draw of PyTorch", "padding_idx"]),
    "fans of one projection": (
        Attention,
        attention(initializers.xavier_uniform()),
        {f"attention.in_proj_weight[{n}:{n + 24}]" for n in (0, 24, 48)},
        [r"sqrt\(2\)", "fans of a third of the packed matrix, 48"],
    ),
}
