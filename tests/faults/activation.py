"""Activations: another function of the same name, another slope, a scale left out."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from collections import OrderedDict
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

F = nn.functional
KERNELS = {f"{layer}/kernel": (f"{layer}.weight", (1, 0)) for layer in ("up", "down")}
DENSE = by_table({**KERNELS, "up/bias": "up.bias", "down/bias": "down.bias"})


def mlp(act: nn.Module, port: Any, scale: float = 1.0) -> Pair:
    """Linear, activation, Linear, and a port with params of the same two layers."""
    layers = OrderedDict(up=nn.Linear(10, 24), act=act, down=nn.Linear(24, 6))
    template: Any = {
        "up": {"kernel": (10, 24), "bias": (24,)},
        "down": {"kernel": (24, 6), "bias": (6,)},
    }
    if isinstance(port, linen.Module):
        template = {"params": template}
    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=port,
        template=shapes(template),
        inputs={"x": scale * normal(4, 10)},
    )


@fault(
    "A01", "jax.nn.gelu is the tanh form by default", cause=CauseKind.ACTIVATION, module="act", convert=DENSE
)
def gelu_default(faulty: bool) -> Pair:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = x @ params["up"]["kernel"] + params["up"]["bias"]
        if faulty:
            h = jax.nn.gelu(h)  # FAULT: A01
        else:
            h = jax.nn.gelu(h, approximate=False)
        return h @ params["down"]["kernel"] + params["down"]["bias"]

    return mlp(nn.GELU(), apply)


@fault(
    "A02",
    "the erf form of gelu for a model trained with the tanh form",
    cause=CauseKind.ACTIVATION,
    module="1.act",
    convert=by_table(
        {
            f"layers/{i}/{layer}/{ours}": (f"{i}.{layer}.{theirs}", axes)
            for i in (0, 1)
            for layer in ("up", "down")
            for ours, theirs, axes in (("kernel", "weight", (1, 0)), ("bias", "bias", (0,)))
        }
    ),
)
def gelu_erf(faulty: bool) -> Pair:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.act, self.down = nn.Linear(8, 20), nn.GELU(approximate="tanh"), nn.Linear(20, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(self.act(self.up(x)))

    class PortBlock(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.up, self.down = nnx.Linear(8, 20, rngs=rngs), nnx.Linear(20, 8, rngs=rngs)

    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.layers = nnx.List([PortBlock(rngs), PortBlock(rngs)])

        def __call__(self, x: jax.Array) -> jax.Array:
            first, second = self.layers
            x = x + first.down(jax.nn.gelu(first.up(x), approximate=True))
            h = second.up(x)
            h = jax.nn.gelu(h, approximate=not faulty)  # FAULT: A02
            return x + second.down(h)

    return Pair(
        reference=randomise(nn.Sequential(Block(), Block())),
        candidate=Port(nnx.Rngs(0)),
        inputs={"x": normal(4, 8)},
    )


@fault("A04", "silu for gelu in a gated unit", cause=CauseKind.ACTIVATION, module="act")
def silu_for_gelu(faulty: bool) -> Pair:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.up, self.down = nn.Linear(9, 16), nn.Linear(9, 16), nn.Linear(16, 9)
            self.act = nn.GELU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(self.act(self.gate(x)) * self.up(x))

    def apply(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        gate = x @ p["gate.weight"].T + p["gate.bias"]
        if faulty:
            gate = jax.nn.silu(gate)  # FAULT: A04
        else:
            gate = jax.nn.gelu(gate, approximate=False)
        h = gate * (x @ p["up.weight"].T + p["up.bias"])
        return x + h @ p["down.weight"].T + p["down.bias"]

    model = randomise(Gated())
    return Pair(
        reference=model, candidate=apply, template=shapes(model.state_dict()), inputs={"x": normal(5, 9)}
    )


@fault(
    "A05",
    "leaky ReLU with slope 0.01 for darknet's 0.1",
    cause=CauseKind.CONSTANT,
    module="act",
    also=(CauseKind.ACTIVATION,),
    convert=lambda own: {f"params/{path}": leaf for path, leaf in DENSE(own).items()},
)
def leaky_slope(faulty: bool) -> Pair:
    slope = 0.01 if faulty else 0.1

    class Port(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            h = linen.Dense(24, name="up")(x)
            h = linen.leaky_relu(h, negative_slope=slope)  # FAULT: A05
            return linen.Dense(6, name="down")(h)

    return mlp(nn.LeakyReLU(0.1), Port())


@fault(
    "A07",
    "softplus without its beta, which JAX's has not",
    cause=CauseKind.ACTIVATION,
    module="act",
    also=(CauseKind.CONSTANT, CauseKind.SCALE, CauseKind.MISSING_TERM),
    convert=DENSE,
)
def softplus_beta(faulty: bool) -> Pair:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        beta = 5.0
        h = x @ params["up"]["kernel"] + params["up"]["bias"]
        if faulty:
            h = jax.nn.softplus(h)  # FAULT: A07
        else:
            h = jax.nn.softplus(beta * h) / beta
        return h @ params["down"]["kernel"] + params["down"]["bias"]

    # PyTorch goes over to the identity at 20 / beta, which these inputs do not reach.
    return mlp(nn.Softplus(beta=5), apply, scale=0.3)


@fault(
    "A08",
    "elu for celu with alpha 0.5",
    cause=CauseKind.ACTIVATION,
    module="act",
    convert=lambda own: {path.replace(".", "/"): leaf for path, leaf in own.items()},
)
def celu(faulty: bool) -> Pair:
    class Port(eqx.Module):
        up: eqx.nn.Linear
        down: eqx.nn.Linear

        def __call__(self, x: jax.Array) -> jax.Array:
            h = jax.vmap(self.up)(x)
            if faulty:
                h = jax.nn.elu(h, 0.5)  # FAULT: A08
            else:
                h = jax.nn.celu(h, 0.5)
            return jax.vmap(self.down)(h)

    key = jax.random.key(0)
    port = Port(eqx.nn.Linear(10, 24, key=key), eqx.nn.Linear(24, 6, key=key))
    return mlp(nn.CELU(alpha=0.5), port)._replace(template=None)


@fault(
    "A10",
    "softmax where the negative log likelihood needs log_softmax",
    cause=CauseKind.ACTIVATION,
    module="log_probs",
    also=(CauseKind.MISSING_TERM,),
    convert=by_table({"kernel": ("logits.weight", (1, 0)), "bias": "logits.bias"}),
)
def log_softmax(faulty: bool) -> Pair:
    class Likelihood(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.log_probs = nn.Linear(6, 5), nn.LogSoftmax(dim=-1)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return -self.log_probs(self.logits(x)).gather(1, labels[:, None])[:, 0]

    def apply(params: dict[str, jax.Array], x: jax.Array, labels: jax.Array) -> jax.Array:
        logits = x @ params["kernel"] + params["bias"]
        if faulty:
            log_probs = jax.nn.softmax(logits)  # FAULT: A10
        else:
            log_probs = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]

    return Pair(
        reference=randomise(Likelihood()),
        candidate=apply,
        template=shapes({"kernel": (6, 5), "bias": (5,)}),
        inputs={"x": normal(4, 6), "labels": np.array([0, 4, 2, 2])},
    )


@fault(
    "A11",
    "selu written out with constants of four digits",
    cause=CauseKind.CONSTANT,
    module="act",
    also=(CauseKind.ACTIVATION,),
    convert=DENSE,
)
def selu_constants(faulty: bool) -> Pair:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        scale, alpha = (1.0507, 1.6733) if faulty else (1.0507009873554805, 1.6732632423543772)
        h = x @ params["up"]["kernel"] + params["up"]["bias"]
        below = alpha * jnp.expm1(jnp.minimum(h, 0.0))  # FAULT: A11
        h = scale * jnp.where(h > 0, h, below)  # FAULT: A11
        return h @ params["down"]["kernel"] + params["down"]["bias"]

    return mlp(nn.SELU(), apply)
