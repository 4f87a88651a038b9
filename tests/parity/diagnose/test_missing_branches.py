"""The second of two branches left out: the port returns what the reference has before it joins them."""

from typing import Any

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import named_fault, numbers, report_of

CRITICS = {
    f"{name}{n}": numbers(*shape, seed=n) for n in (1, 2) for name, shape in (("w", (4, 6)), ("v", (6, 1)))
}
X = numbers(5, 4)


def critic(p: Any, n: int, x: jax.Array) -> jax.Array:
    return jnp.tanh(jnp.tanh(x @ p[f"w{n}"]) @ p[f"v{n}"])


def there(p: Any, n: int, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(torch.tanh(x @ p[f"w{n}"]) @ p[f"v{n}"])


def test_one_critic_of_two() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(there(p, 1, x), there(p, 2, x))

    def faulty(p: Any, x: jax.Array) -> jax.Array:
        return critic(p, 1, x)  # FAULT

    cause = named_fault(report_of(reference, faulty, CRITICS, X))
    assert cause.name is CauseKind.MISSING_TERM
    assert "takes the smaller of this and" in cause.text
    assert "JAX gives what is before" in cause.text


def test_one_direction_of_a_loss() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        logits = x @ p["w1"] @ (x @ p["w2"]).T
        labels = torch.arange(len(x))
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    def faulty(p: Any, x: jax.Array) -> jax.Array:
        logits = x @ p["w1"] @ (x @ p["w2"]).T
        return -jnp.diagonal(jax.nn.log_softmax(logits)).mean()  # FAULT

    cause = named_fault(report_of(reference, faulty, CRITICS, X))
    assert cause.name is CauseKind.MISSING_TERM
    assert "PyTorch adds" in cause.text
