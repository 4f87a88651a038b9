"""Whatever a check ends with, both models and the process are as they were."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity

X = {"x": np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)}


class Encoder(nn.Module):
    """Holds a layer that others hold as well."""

    def __init__(self, shared: nn.Module) -> None:
        super().__init__()
        self.shared, self.norm = shared, nn.BatchNorm1d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.shared(x))


class Busy(nn.Module):
    """One layer under three names, a head tied to it, and attributes that change in every run."""

    runs = 0
    """Of all of them together: what belongs to a class is not put back."""

    def __init__(self, fails: Callable[[int], bool] = lambda call: False) -> None:
        super().__init__()
        self.shared = nn.Linear(3, 5)
        self.first, self.second = Encoder(self.shared), Encoder(self.shared)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.shared.weight
        self.calls, self.log, self.kept = 0, [], torch.zeros(2)
        self.draws = torch.Generator().manual_seed(3)
        self.fails = fails

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        Busy.runs += 1
        if self.fails(Busy.runs):
            raise FloatingPointError("as asked")
        self.log.append(x)
        self.kept += 1
        torch.rand(1, generator=self.draws)
        return self.head(x) + torch.tanh(self.first(x)) + self.second(x)


def port(wrong: bool = False, fails: bool = False) -> Callable[..., jax.Array]:
    def norm(p: Any, h: jax.Array) -> jax.Array:
        return (h - p["mean"]) / jnp.sqrt(p["var"] + 1e-5) * p["scale"] + p["bias"]

    def forward(p: Any, x: jax.Array) -> jax.Array:
        h = x @ p["w"] + p["b"]
        if fails:
            raise FloatingPointError("as asked")
        first = jax.nn.relu(norm(p["first"], h)) if wrong else jnp.tanh(norm(p["first"], h))
        return x @ p["w"] + first + norm(p["second"], h)

    return forward


def template() -> dict[str, Any]:
    norm = {"scale": jnp.ones(5), "bias": jnp.zeros(5), "mean": jnp.zeros(5), "var": jnp.ones(5)}
    return {"w": jnp.zeros((3, 5)), "b": jnp.zeros(5), "first": norm, "second": norm}


def portrait(model: Busy) -> list[Any]:
    """All that can be seen of a model: which tensors it has, their numbers, attributes, generators."""
    tensors = [
        (name, id(tensor), tensor.dtype, tensor.detach().numpy().tobytes(), tensor.requires_grad, tensor.grad)
        for module in model.modules()
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]
        if tensor is not None
    ]
    attributes = [(sorted(vars(module)), module.training) for module in model.modules()]
    own = (model.calls, list(map(id, model.log)), model.kept.tolist(), model.draws.get_state().tolist())
    return [tensors, attributes, own]


def process() -> list[Any]:
    """The settings and generators of this process; beartype draws from Python's own in every call."""
    return [
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision,
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        repr(np.random.get_state()),  # noqa: NPY002
        jax.config.jax_enable_x64,
        jax.config.jax_default_matmul_precision,
    ]


def run(model: Busy, candidate: Callable[..., jax.Array], **more: Any) -> str:
    weights = parity.Weights(template=template())
    try:
        return str(parity.check(model, candidate, X, weights=weights, **more).verdict.value)
    except FloatingPointError:
        return "raised"


@contextlib.contextmanager
def nothing_changes(*models: Busy) -> Iterator[None]:
    Busy.runs = 0
    before = [*map(portrait, models)], process()
    yield
    assert [*map(portrait, models)] == before[0]
    assert process() == before[1]


@pytest.mark.parametrize(("wrong", "verdict"), [(False, "pass"), (True, "fail")])
def test_checks_that_pass_and_fail(wrong: bool, verdict: str) -> None:
    model = Busy().eval()
    with nothing_changes(model):
        assert run(model, port(wrong)) == verdict
    assert Busy.runs > 5


def test_checks_that_raise_at_every_stage() -> None:
    """The reference raises in one of its runs, early and late, until a check ends well."""
    ends = []
    for stage in (1, 2, 4, 9, 20, 1000):
        model = Busy(lambda call, stage=stage: call == stage).eval()
        with nothing_changes(model):
            ends.append(run(model, port()))
    assert ends[0] == "raised"
    assert ends[-1] == "pass"


def test_candidates_and_losses_that_raise() -> None:
    model = Busy().eval()

    def loss(out: torch.Tensor, targets: Any) -> torch.Tensor:
        raise FloatingPointError("as asked")

    with nothing_changes(model):
        assert run(model, port(fails=True)) == "raised"
        assert run(model, port(), loss=(loss, lambda out, targets: out.sum())) == "raised"


def test_threads_take_turns() -> None:
    models = [Busy().eval() for _ in range(3)]
    ends: list[str] = []
    threads = [threading.Thread(target=lambda m=model: ends.append(run(m, port()))) for model in models]
    with nothing_changes(*models):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ends == ["pass"] * 3
