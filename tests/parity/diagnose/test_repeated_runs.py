"""What is computed twice from the same, where the reference computes the second from something else."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from parity.report.kinds import CauseKind
from parity.report.results import Verdict
from tests.parity.diagnose.diagnosed import named_fault, numbers, report_of

SQUARE = {"w": numbers(4, 4), "v": numbers(4, 4, seed=1)}
TWINS = {f"q{n}_{name}": numbers(*s, seed=n) for n in (1, 2) for name, s in (("w", (4, 4)), ("b", (4,)))}
TWINS |= {f"q{n}_out": numbers(4, 1, seed=n) for n in (1, 2)}
X, Y, Z = (numbers(5, 4, seed=seed) for seed in range(3))


def cross_entropy(logits: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.arange(len(logits))[:, None], axis=1)
    return -chosen.mean()


def test_the_second_of_two_losses_that_reads_the_logits_as_they_are() -> None:
    def reference(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits, labels = (x @ p["w"]) @ (y @ p["v"]).T, torch.arange(len(x))
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    def faulty(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = (x @ p["w"]) @ (y @ p["v"]).T
        of_x = cross_entropy(logits)
        of_y = cross_entropy(logits)  # FAULT
        return (of_x + of_y) / 2

    cause = named_fault(report_of(reference, faulty, SQUARE, X, Y))
    assert cause.name is CauseKind.ORDER
    assert "repeats what line" in cause.text
    assert "PyTorch puts the axes in the order (1, 0)" in cause.text


def encoded(p: Any, x: jax.Array) -> jax.Array:
    hidden = jax.nn.gelu(x @ p["w"], approximate=False) @ p["v"]
    return (hidden - hidden.mean(-1, keepdims=True)) / jnp.sqrt(hidden.var(-1, keepdims=True) + 1e-5)


def test_a_negative_for_which_the_positive_is_encoded_again() -> None:
    def encoded_there(p: Any, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(F.gelu(x @ p["w"]) @ p["v"], (4,))

    def reference(p: Any, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        anchor, positive, negative = (encoded_there(p, one) for one in (x, y, z))
        return torch.relu((anchor - positive).square().sum(-1) - (anchor - negative).square().sum(-1) + 1)

    def faulty(p: Any, x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
        anchor, positive = encoded(p, x), encoded(p, y)
        negative = encoded(p, y)  # FAULT
        near, far = ((anchor - one) ** 2 for one in (positive, negative))
        return jax.nn.relu(near.sum(-1) - far.sum(-1) + 1)

    cause = named_fault(report_of(reference, faulty, SQUARE, X, Y, Z))
    assert cause.name is CauseKind.OPERANDS
    assert "JAX reads the input input_1 where PyTorch reads the input input_2" in cause.text


def test_two_arguments_that_a_second_call_should_get_the_other_way_round() -> None:
    def reference(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return F.cosine_similarity(torch.tanh(a @ p["w"]) @ p["v"], torch.tanh(b @ p["w"]).detach())

        return loss(x, y) + loss(y, x)

    def loss_of(p: Any, a: jax.Array, b: jax.Array) -> jax.Array:
        first = jnp.tanh(a @ p["w"]) @ p["v"]
        second = jax.lax.stop_gradient(jnp.tanh(b @ p["w"]))
        return (first * second).sum(-1) / jnp.linalg.norm(first, axis=-1) / jnp.linalg.norm(second, axis=-1)

    def faulty(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        one_way = loss_of(p, x, y)
        other_way = loss_of(p, x, y)  # FAULT
        return one_way + other_way

    cause = named_fault(report_of(reference, faulty, SQUARE, X, Y))
    assert cause.name is CauseKind.OPERANDS
    assert "the input input_0 and the input input_1 are exchanged in JAX" in cause.text


def critic_there(p: Any, name: str, x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x @ p[f"{name}_w"] + p[f"{name}_b"]) @ p[f"{name}_out"]


def critic(p: Any, name: str, x: jax.Array) -> jax.Array:
    return jax.nn.relu(x @ p[f"{name}/w"] + p[f"{name}/b"]) @ p[f"{name}/out"]


def twins_there(p: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.minimum(critic_there(p, "q1", x), critic_there(p, "q2", x))


def checked_twins(faulty: Any) -> Any:
    leaves = {name.replace("_", "/"): array for name, array in TWINS.items()}
    template = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in leaves.items()}
    pins = dict(zip(TWINS, leaves, strict=True))
    return report_of(twins_there, faulty, TWINS, X, template=template, pins=pins)


def test_a_critic_that_has_the_weights_of_its_twin() -> None:
    def faulty(p: Any, x: jax.Array) -> jax.Array:
        first = critic(p, "q1", x)
        second = critic(p, "q1", x)  # FAULT
        return jnp.minimum(first, second)

    cause = named_fault(checked_twins(faulty))
    assert cause.name is CauseKind.SWAPPED_WEIGHTS
    assert "JAX reads the weights of q1 where those of q2 belong" in cause.text


def test_both_in_one_line() -> None:
    def faulty(p: Any, x: jax.Array) -> jax.Array:
        return jnp.minimum(critic(p, "q1", x), critic(p, "q1", x))  # FAULT

    cause = named_fault(checked_twins(faulty))
    assert cause.name is CauseKind.SWAPPED_WEIGHTS
    assert "computes the same twice" in cause.text


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_a_port_may_compute_the_same_twice(eps: float) -> None:
    """A rewrite that normalises once more for a gate is right, and beside another fault not blamed."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        normed = F.layer_norm(x @ p["w"], (4,), eps=1e-5)
        return torch.sigmoid(normed @ p["v"]) * normed

    def normed(p: Any, x: jax.Array) -> jax.Array:
        hidden = x @ p["w"]
        mean, variance = hidden.mean(-1, keepdims=True), hidden.var(-1, keepdims=True)
        return (hidden - mean) / jnp.sqrt(variance + eps)  # FAULT

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(normed(p, x) @ p["v"]) * normed(p, x)

    report = report_of(reference, candidate, SQUARE, X)
    if eps == 1e-5:
        assert report.verdict is Verdict.PASS, str(report)
    else:
        assert named_fault(report).name is CauseKind.EPSILON


TABLE = np.cumprod(1 - np.linspace(1e-3, 0.2, 10))
STEPS = np.array([7, 3, 5, 2, 9])


@pytest.mark.parametrize("clipped", [False, True])
def test_an_entry_of_a_table_that_is_read_twice(clipped: bool) -> None:
    """A step back of a diffusion; without the clip both errors cancel, and the output is the input again."""

    def reference(p: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        table, noise = torch.tensor(TABLE, dtype=x.dtype), torch.tanh(x @ p["w"])
        now, before = table[t][:, None], table[t - 1][:, None]
        clean = (x - (1 - now).sqrt() * noise) / now.sqrt()
        clean = clean.clamp(-1, 1) if clipped else clean
        return before.sqrt() * clean + (1 - before).sqrt() * noise

    def faulty(p: Any, x: jax.Array, t: jax.Array) -> jax.Array:
        table, noise = jnp.asarray(TABLE, x.dtype), jnp.tanh(x @ p["w"])
        now = table[t - 1][:, None]  # FAULT
        before = table[t - 1][:, None]
        clean = (x - jnp.sqrt(1 - now) * noise) / jnp.sqrt(now)
        clean = jnp.clip(clean, -1, 1) if clipped else clean
        return jnp.sqrt(before) * clean + jnp.sqrt(1 - before) * noise

    report = report_of(reference, faulty, {"w": SQUARE["w"]}, X, STEPS)
    assert len(report.divergences) == 1, report
    cause = named_fault(report)
    assert "repeats what line" in cause.text, cause
    assert "where PyTorch has the index" in cause.text, cause
