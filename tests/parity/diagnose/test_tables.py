"""Constants that were worked out with other numbers, and causes that imitate what neither side computes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from parity.report.results import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, numbers, report_of

X = numbers(3, 6, 8)
PARAMS = {"w": numbers(8, 8), "table": numbers(49, 1, seed=3)}


def anchors(*, exchanged: bool) -> np.ndarray:
    """Centres and widths of boxes; faulty ones have the two coordinates of a centre exchanged."""
    cy, cx = np.meshgrid(np.arange(2) + 0.5, np.arange(3) * 2.0, indexing="ij")
    first, second = (cy, cx) if exchanged else (cx, cy)
    return np.stack([first, second, np.sqrt(cx + 1.0), cy + cx + 3.0], axis=-1).reshape(-1, 4)


def test_the_columns_of_a_constant_are_exchanged() -> None:
    right, wrong = anchors(exchanged=False), anchors(exchanged=True)

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        boxes = torch.tensor(right, dtype=x.dtype)
        low = torch.maximum(boxes[None, :, :2], x[..., :2])
        return torch.tanh((low - boxes[:, 2:]) @ p["w"][:2])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        boxes = jnp.asarray(wrong, x.dtype)
        low = jnp.maximum(boxes[None, :, :2], x[..., :2])
        return jnp.tanh((low - boxes[:, 2:]) @ p["w"][:2])

    cause = cause_of(reference, candidate, {"w": PARAMS["w"]}, X)
    assert cause is not None
    assert cause.name is CauseKind.ORDER
    assert "has the parts along axis 1 in the order (1, 0, 2, 3)" in cause.text


def relative_index(sign: int) -> np.ndarray:
    """The entry of a table of relative positions that each pair of six places reads."""
    row, column = np.divmod(np.arange(6), 3)
    return (row[:, None] - row[None] + 3) * 7 + sign * (column[:, None] - column[None]) + 3


def test_an_index_table_that_differs_is_told_with_the_numbers_of_both() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        bias = p["table"][torch.tensor(relative_index(1)).view(-1)].view(6, 6)
        return torch.softmax(x @ x.transpose(1, 2) + bias, -1) @ x

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        bias = p["table"][relative_index(-1)][..., 0]
        return jax.nn.softmax(x @ jnp.swapaxes(x, 1, 2) + bias, axis=-1) @ x

    (divergence,) = report_of(reference, candidate, {"table": PARAMS["table"]}, X).divergences
    assert "relative_index(-1)" in divergence.candidate[0].code, divergence.candidate
    assert "relative_index(1)" in divergence.reference[0].code, divergence.reference
    cause = divergence.cause
    assert cause is not None
    assert cause.name is CauseKind.SELECTION
    assert "24 of 36 entries differ, the first at [0, 1]: 23 in PyTorch, 25 in JAX" in cause.text


def test_a_window_that_stands_elsewhere_is_shifted() -> None:
    hann = np.hanning(5)[1:-1]

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        window = torch.zeros(8, dtype=x.dtype)
        window[2:5] = torch.tensor(hann, dtype=x.dtype)
        return torch.tanh((x * window) @ p["w"])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh((x * np.pad(hann, (0, 5))) @ p["w"])

    cause = cause_of(reference, candidate, {"w": PARAMS["w"]}, X)
    assert cause is not None
    assert "in PyTorch it is shifted by +2 along axis 0" in cause.text


def test_a_running_minimum_that_is_not_kept_is_named_and_no_entry_that_fits_by_chance() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        near, last = torch.full(x.shape[:2], 9.0, dtype=x.dtype), x[:, 0]
        for _ in range(3):
            near = torch.minimum(near, ((x - last[:, None]) ** 2).sum(-1))
            last = x[torch.arange(3), near.argmax(-1)]
        return near @ p["w"][:6]

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        near, last = jnp.full(x.shape[:2], 9.0), x[:, 0]
        for number in range(3):
            new = ((x - last[:, None]) ** 2).sum(-1)
            near = jnp.minimum(near, new) if number == 0 else new
            last = x[jnp.arange(3), near.argmax(-1)]
        return near @ p["w"][:6]

    cause = cause_of(reference, candidate, {"w": PARAMS["w"]}, X)
    assert cause is not None
    assert cause.name is CauseKind.MISSING_TERM
    assert "takes the smaller of this and" in cause.text


def test_scores_that_lack_a_factor_are_no_power_of_their_exponential() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        scores = 5 * torch.tanh(x @ x.transpose(1, 2) / 5)
        hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
        return torch.softmax(scores.masked_fill(hidden, float("-inf")), -1) @ x

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        scores = jnp.tanh(x @ jnp.swapaxes(x, 1, 2) / 5)
        visible = jnp.tril(jnp.ones((6, 6), bool))
        return jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1) @ x

    report = report_of(reference, candidate, {"w": PARAMS["w"]}, X)
    (divergence,) = report.divergences
    assert divergence.cause is not None
    assert "goes through mul(5) before this" in divergence.cause.text


def test_the_nearest_is_no_farthest() -> None:
    same = np.eye(6, dtype=bool)

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        d = (x[:, :, None] - x[:, None]).pow(2).sum(-1)
        return d.masked_fill(torch.tensor(same), float("inf")).min(-1).values @ p["w"][:6]

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        d = ((x[:, :, None] - x[:, None]) ** 2).sum(-1)
        return jnp.max(jnp.where(same, -jnp.inf, d), axis=-1) @ p["w"][:6]

    cause = cause_of(reference, candidate, {"w": PARAMS["w"]}, X)
    assert cause is not None
    assert cause.name is CauseKind.REDUCTION
    assert "takes the smallest over axes (2,)" in cause.text


@pytest.mark.parametrize("how", ["up", "towards zero"])
def test_a_quotient_that_is_rounded_otherwise(how: str) -> None:
    lengths = np.array([5, 4, -3, 7, -2, 9, -5, 11, 3, 6, -7, 1])
    rounded = np.ceil if how == "up" else np.trunc

    def reference(p: Any, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        half = torch.div(n, 2, rounding_mode="trunc")
        if how == "up":
            half = -torch.div(-n, 2, rounding_mode="floor")
        return (x.reshape(-1)[:12] * half) @ p["w"].reshape(-1)[:12]

    def candidate(p: Any, x: jax.Array, n: jax.Array) -> jax.Array:
        return (x.reshape(-1)[:12] * (n // 2)) @ p["w"].reshape(-1)[:12]

    cause = cause_of(reference, candidate, {"w": PARAMS["w"]}, X, lengths)
    assert np.any(rounded(lengths / 2) != lengths // 2)
    assert cause is not None
    assert f"PyTorch takes the quotient rounded {how}" in cause.text


def test_two_entries_tell_a_function_and_what_was_mended_once_is_no_operand() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        scaled = [part / torch.nn.functional.softplus(p["w"][0, :2]) for part in (x[..., :2], x[..., 2:4])]
        return torch.tanh(scaled[0]), torch.sin(scaled[1])  # type: ignore[return-value]

    def scale(p: Any, x: jax.Array) -> jax.Array:
        return x / jnp.exp(p["w"][0, :2])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(scale(p, x[..., :2])), jnp.sin(scale(p, x[..., 2:4]))  # type: ignore[return-value]

    report = report_of(reference, candidate, {"w": PARAMS["w"]}, X)
    causes = [divergence.cause for divergence in report.divergences]
    assert causes[0] is not None
    assert "PyTorch applies softplus" in causes[0].text
    assert not any(cause is not None and "number 1 of" in cause.text for cause in causes), str(report)


def test_the_parent_of_a_hypothesis_by_quotient_for_remainder() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        scores, best = torch.log_softmax(x[:, 0] @ p["w"], -1).topk(3, -1)
        parents = torch.gather(x, 1, (best % 3)[..., None].expand(-1, -1, x.shape[-1]))
        return torch.tanh(scores[..., None] + parents)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        scores, best = jax.lax.top_k(jax.nn.log_softmax(x[:, 0] @ p["w"]), 3)
        parents = jnp.take_along_axis(x, (best // 3)[..., None], axis=1)
        return jnp.tanh(scores[..., None] + parents)

    cause = cause_of(reference, candidate, {"w": PARAMS["w"]}, X)
    assert cause is not None
    assert cause.name is CauseKind.SELECTION
    assert "PyTorch takes the remainder" in cause.text
    assert "JAX the quotient" in cause.text
