"""Numbers that one side rounds to float32: tables, literals, short decimals."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.cases.declare import (
    cause,
    faulty_report,
    first,
    lines,
    plain,
    require_pass,
    right_only,
    twins,
)
from tests.kit.checking import check
from tests.kit.conversion import dense, norm
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

pytestmark = pytest.mark.filterwarnings("ignore")


def rotating(keep: str) -> Pair:
    """Rotary frequencies: computed by the port, kept by PyTorch as a frozen parameter or as a buffer."""

    class Rotating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(5, 6)
            frequencies = 10000.0 ** -(torch.arange(3) / 3)
            if keep == "frozen parameter":
                self.frequencies = nn.Parameter(frequencies, requires_grad=False)
            else:
                self.register_buffer("frequencies", frequencies, persistent=keep == "saved buffer")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            angles = torch.outer(torch.arange(x.shape[0]).to(x.dtype), self.frequencies)
            return self.inner(x) * torch.cat([angles.cos(), angles.sin()], -1)

    def port(params: Any, x: jax.Array) -> jax.Array:
        angles = jnp.outer(jnp.arange(x.shape[0]), 10000.0 ** -(jnp.arange(3) / 3))
        turns = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
        return (x @ params["kernel"] + params["bias"]) * turns

    reference = Rotating()
    randomise(reference.inner)
    template = shapes({"kernel": (5, 6), "bias": (6,)})
    return Pair(reference.eval(), port, {"x": normal(9, 5)}, template=template)


@right_only(lambda t: dense(t, "inner"), within=1e-6)
def table_frozen() -> Pair:
    return rotating("frozen parameter")


@right_only(lambda t: dense(t, "inner"), within=1e-6)
def table_saved() -> Pair:
    return rotating("saved buffer")


@right_only(lambda t: dense(t, "inner"), within=1e-6)
def table_not_saved() -> Pair:
    return rotating("buffer that is not saved")


@pytest.mark.parametrize(
    "case",
    [plain(table_frozen), plain(table_saved), plain(table_not_saved)],
)
def test_a_table_may_be_kept_or_computed(case: Any) -> None:
    require_pass(check(case.right))


@twins(lambda t: {"norm": norm(t, "norm"), "head": dense(t, "head")})
def timestep(faulty: bool) -> Pair:
    """An embedding of the time, its rate computed by Python, before a normalisation with another epsilon."""

    class Timestep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.LayerNorm(12, eps=1e-6), nn.Linear(12, 4)

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            rates = torch.exp(-math.log(10000) * torch.arange(6, dtype=x.dtype) / 6)
            angles = t[:, None] * rates
            return self.head(self.norm(x + torch.cat([angles.cos(), angles.sin()], -1)))

    def port(params: Any, x: jax.Array, t: jax.Array) -> jax.Array:
        decay = math.log(10000) / 6
        rates = jnp.exp(-decay * jnp.arange(6, dtype=x.dtype))
        angles = t[:, None] * rates
        h = x + jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
        centred = h - h.mean(-1, keepdims=True)
        if faulty:
            deviation = jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)  # FAULT: timestep
        else:
            deviation = jnp.sqrt(h.var(-1, keepdims=True) + 1e-6)
        h = centred / deviation * params["norm"]["scale"] + params["norm"]["bias"]
        return h @ params["head"]["kernel"] + params["head"]["bias"]

    times = np.array([2.0, 640.0, 87.0, 955.0, 313.0], np.float32)
    template = {"norm": {"scale": (12,), "bias": (12,)}, "head": {"kernel": (12, 4), "bias": (4,)}}
    return Pair(randomise(Timestep()), port, {"x": normal(5, 12), "t": times}, template=shapes(template))


def test_an_embedding_of_the_timestep_passes() -> None:
    require_pass(check(timestep.right))


def test_an_epsilon_behind_an_embedding_of_the_timestep_is_found() -> None:
    fault = first(faulty_report(timestep, whole=True))
    assert lines(fault)[0] in timestep.fault
    assert cause(fault).name is CauseKind.EPSILON


@right_only(lambda t: dense(t, "inner"))
def root_that_prints_short() -> Pair:
    """The root of 0.7 prints as 0.83666 in float32, and is another number."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return math.sqrt(7) * self.inner(x) / math.sqrt(10)

    roots = np.full(3, math.sqrt(0.7))

    def port(params: Any, x: jax.Array) -> jax.Array:
        return jnp.asarray(roots) * (x @ params["kernel"] + params["bias"])

    return Pair(
        randomise(Scaled()), port, {"x": normal(4, 5)}, template=shapes({"kernel": (5, 3), "bias": (3,)})
    )


def test_a_number_is_not_taken_for_the_decimal_that_it_prints_as() -> None:
    require_pass(check(root_that_prints_short.right))
