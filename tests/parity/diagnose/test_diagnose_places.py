"""The diagnosis of places: order, windows, operands, masks, indices. Each pair has one planted fault."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, numbers, report_of

F = nn.functional


@pytest.mark.parametrize(
    ("reference", "candidate", "name", "words"),
    [
        (lambda h: h.roll(-1, 1), lambda h: jnp.roll(h, 1, 1), "shift", ["rolled by -1", "rolled by 1"]),
        (lambda h: h.repeat(1, 2), lambda h: jnp.repeat(h, 2, 1), "repeat", ["whole", "each entry"]),
        (lambda h: h.flip(1), lambda h: h, "order", ["reversed"]),
        (lambda h: h.sort(1).values, lambda h: jnp.flip(jnp.sort(h, 1), 1), "order", ["reversed"]),
    ],
)
def test_the_same_entries_in_another_order(
    reference: Any, candidate: Any, name: str, words: list[str]
) -> None:
    cause = cause_of(
        lambda p, x: reference(torch.sin(x @ p["w"])) * torch.arange(1.0, reference(x @ p["w"]).shape[1] + 1),
        lambda p, x: candidate(jnp.sin(x @ p["w"])) * jnp.arange(1.0, candidate(x @ p["w"]).shape[1] + 1),
        {"w": numbers(4, 6)},
        numbers(5, 4),
    )
    assert cause is not None
    assert cause.name == name, cause
    assert all(word in cause.text for word in words), cause


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (lambda h: h.transpose(0, 2, 3, 1).reshape(2, -1), ["reshape"]),
        (lambda h: h.transpose(0, 1, 3, 2).reshape(2, -1), ["reshape"]),
    ],
)
def test_another_order_of_flattening(candidate: Any, words: list[str]) -> None:
    cause = cause_of(
        lambda p, x: torch.tanh(x).flatten(1) @ p["w"],
        lambda p, x: candidate(jnp.tanh(x)) @ p["w"],
        {"w": numbers(60, 3)},
        numbers(2, 3, 4, 5),
    )
    assert cause is not None
    assert cause.name == "order", cause
    assert all(word in cause.text for word in words), cause


def torch_conv(p: Any, x: torch.Tensor, **settings: Any) -> torch.Tensor:
    return torch.tanh(F.conv1d(x, p["w"], **settings))


def jax_conv(p: Any, x: jax.Array, stride: int = 1, pads: Any = (1, 1), dilation: int = 1) -> jax.Array:
    names = ("NCH", "OIH", "NCH")
    h = jax.lax.conv_general_dilated(
        x, p["w"], (stride,), [pads], rhs_dilation=(dilation,), dimension_numbers=names
    )
    return jnp.tanh(h)


@pytest.mark.parametrize(
    ("reference", "candidate", "name", "words"),
    [
        ({"padding": 1}, {"pads": (0, 2)}, "padding", ["((0, 2),)", "((1, 1),)"]),
        ({"padding": 1, "stride": 2}, {"pads": (0, 1), "stride": 2}, "padding", ["((0, 1),)", "((1, 1),)"]),
        ({"padding": 2, "dilation": 2}, {}, "dilation", ["(1,)", "(2,)"]),
    ],
)
def test_settings_of_a_convolution(reference: Any, candidate: Any, name: str, words: list[str]) -> None:
    cause = cause_of(
        lambda p, x: torch_conv(p, x, **reference),
        lambda p, x: jax_conv(p, x, **candidate),
        {"w": numbers(4, 3, 3)},
        numbers(2, 3, 8),
    )
    assert cause is not None
    assert cause.name == name, cause
    assert all(word in cause.text for word in words), cause


def test_a_transposed_convolution_whose_kernel_is_not_flipped() -> None:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        names = ("NCH", "IOH", "NCH")
        h = jax.lax.conv_general_dilated(
            x, p["w"], (1,), [(1, 2)], lhs_dilation=(2,), dimension_numbers=names
        )
        return jnp.tanh(h)

    cause = cause_of(
        lambda p, x: torch.tanh(F.conv_transpose1d(x, p["w"], stride=2, padding=1, output_padding=1)),
        candidate,
        {"w": numbers(3, 4, 3)},
        numbers(2, 3, 6),
    )
    assert cause is not None
    assert cause.name == "flipped kernel", cause


def jax_pool(
    x: jax.Array, start: float, reducer: Any, pads: Any = (0, 0), size: int = 2, step: int = 2
) -> Any:
    around = [(0, 0), (0, 0), pads]
    return jax.lax.reduce_window(x, start, reducer, (1, 1, size), (1, 1, step), around)


@pytest.mark.parametrize(
    ("reference", "candidate", "name", "word"),
    [
        (
            lambda h: F.max_pool1d(h, 3, 2, 1),
            lambda h: jax_pool(h, -jnp.inf, jax.lax.max, (0, 1), 3),
            "padding",
            "(1, 1)",
        ),
        (lambda h: F.max_pool1d(h, 2), lambda h: jax_pool(h, 0.0, jax.lax.add) / 2, "pool mode", "maximum"),
        (
            lambda h: F.avg_pool1d(h, 3, 1, 1, count_include_pad=False),
            lambda h: jax_pool(h, 0.0, jax.lax.add, (1, 1), 3, 1) / 3,
            "pool count",
            "False",
        ),
        (
            lambda h: F.pad(h, (2, 2), mode="reflect"),
            lambda h: jnp.pad(h, ((0, 0), (0, 0), (2, 2)), mode="edge"),
            "padding",
            "reflect",
        ),
    ],
)
def test_pooling_and_borders(reference: Any, candidate: Any, name: str, word: str) -> None:
    cause = cause_of(
        lambda p, x: torch.sin(reference(torch.tanh(x @ p["w"]))),
        lambda p, x: jnp.sin(candidate(jnp.tanh(x @ p["w"]))),
        {"w": numbers(5, 8)},
        numbers(2, 3, 5),
    )
    assert cause is not None
    assert cause.name == name, cause
    assert word in cause.text, cause


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (lambda x, y: jnp.tanh(y) - x, "operands"),
        (lambda x, y: x + jnp.tanh(y), "operands"),
    ],
)
def test_operands_and_operations(candidate: Any, name: str) -> None:
    cause = cause_of(
        lambda p, x, y: torch.sin(x - torch.tanh(y)) @ p["w"],
        lambda p, x, y: jnp.sin(candidate(x, y)) @ p["w"],
        {"w": numbers(6, 3)},
        numbers(4, 6),
        numbers(4, 6, seed=1),
    )
    assert cause is not None
    assert cause.name == name, cause


def lstm_step(gates: Any, c: Any, sigmoid: Any, tanh: Any, order: tuple[int, ...]) -> Any:
    i, f, g, o = (gates[k] for k in order)
    return sigmoid(o) * tanh(sigmoid(f) * c + sigmoid(i) * tanh(g))


def test_gates_read_in_another_order() -> None:
    cause = cause_of(
        lambda p, x, c: lstm_step((x @ p["w"]).chunk(4, -1), c, torch.sigmoid, torch.tanh, (0, 1, 2, 3)),
        lambda p, x, c: lstm_step(jnp.split(x @ p["w"], 4, -1), c, jax.nn.sigmoid, jnp.tanh, (0, 2, 1, 3)),
        {"w": numbers(3, 16)},
        numbers(5, 3),
        numbers(5, 4),
    )
    assert cause is not None
    assert cause.name == "gate order", cause
    assert "exchanged" in cause.text


def test_a_state_that_is_not_reset() -> None:
    def reference(p: Any, x: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        h, out = x.new_zeros(3, 4), []
        for i in range(4):
            h = torch.tanh(x[i] + torch.where(first[i, :, None], 0, h) @ p["u"])
            out.append(h)
        return torch.stack(out)

    def candidate(p: Any, x: jax.Array, first: jax.Array) -> jax.Array:
        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(x + h @ p["u"])
            return h, h

        return jax.lax.scan(step, jnp.zeros((3, 4), x.dtype), x)[1]

    first = np.array([[True, True, True], [False, True, False], [False, False, False], [True, False, False]])
    cause = cause_of(reference, candidate, {"u": numbers(4, 4)}, numbers(4, 3, 4), first)
    assert cause is not None
    assert cause.name in ("recurrence", "mask"), cause


SCORES = {"w": numbers(8, 8)}


def torch_causal(p: Any, x: torch.Tensor) -> torch.Tensor:
    scores = (x @ p["w"]) @ x.mT
    seen = torch.ones(5, 5, dtype=torch.bool).tril()
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ x


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (lambda: jnp.tril(jnp.ones((5, 5), bool), 1), ["1", "0"]),
        (lambda: jnp.ones((5, 5), bool), ["mask"]),
    ],
)
def test_a_causal_mask_that_is_shifted_or_missing(mask: Any, words: list[str]) -> None:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        scores = (x @ p["w"]) @ x.swapaxes(1, 2)
        return jax.nn.softmax(jnp.where(mask(), scores, -jnp.inf)) @ x

    cause = cause_of(torch_causal, candidate, SCORES, numbers(2, 5, 8))
    assert cause is not None
    assert cause.name == "mask", cause
    assert all(word in cause.text for word in words), cause


def test_a_mask_of_the_opposite_meaning() -> None:
    def reference(p: Any, x: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
        return ((x @ p["w"]) @ x.mT).masked_fill(padded[:, None], -torch.inf).softmax(-1) @ x

    def candidate(p: Any, x: jax.Array, padded: jax.Array) -> jax.Array:
        scores = (x @ p["w"]) @ x.swapaxes(1, 2)
        return jax.nn.softmax(jnp.where(padded[:, None], scores, -jnp.inf)) @ x

    padded = np.array([[False, False, True, True, True], [False, False, False, False, True]])
    cause = cause_of(reference, candidate, SCORES, numbers(2, 5, 8), padded)
    assert cause is not None
    assert cause.name == "mask", cause
    assert "inverted" in cause.text


@pytest.mark.parametrize(
    ("reference", "candidate", "names", "word"),
    [
        (lambda e, i: e[i + 2], lambda e, i: e[i], {"shift"}, "2"),
        (lambda e, i: e[i.clamp(max=4)], lambda e, i: e[i], {"selection"}, "4"),
        (lambda e, i: e[i][:, -1:], lambda e, i: e[i][:, :1], {"selection"}, "2"),
    ],
)
def test_indices(reference: Any, candidate: Any, names: set[str], word: str) -> None:
    cause = cause_of(
        lambda p, i: torch.tanh(reference(p["e"], i)),
        lambda p, i: jnp.tanh(candidate(p["e"], i)),
        {"e": numbers(9, 6)},
        np.array([[1, 5, 3], [6, 0, 2]]),
    )
    assert cause is not None
    assert cause.name in names, cause
    assert word in cause.text, cause


def test_a_bias_along_another_axis() -> None:
    cause = cause_of(
        lambda p, x: torch.tanh(x @ p["w"] + p["b"][:, None]),
        lambda p, x: jnp.tanh(x @ p["w"] + p["b"]),
        {"b": numbers(5), "w": numbers(5, 5)},
        numbers(2, 5, 5),
    )
    assert cause is not None
    assert cause.name in ("broadcast", "axis"), cause


def test_letters_of_a_product_exchanged() -> None:
    heads = numbers(2, 4, 4, 3), numbers(2, 4, 4, 3, seed=1)
    cause = cause_of(
        lambda p, q, k: torch.sin(torch.einsum("bqhd,bkhd->bhqk", q * p["s"], k)),
        lambda p, q, k: jnp.sin(jnp.einsum("bhqd,bhkd->bhqk", q * p["s"], k)),
        {"s": numbers(3)},
        *heads,
    )
    assert cause is not None
    assert cause.name == "axis", cause


def test_less_or_equal_is_no_other_number() -> None:
    places = np.arange(6)
    distance = np.abs(places[:, None] - places[None, :]).astype(np.int32)
    cause = cause_of(
        lambda p, x: (x @ p["w"]).masked_fill(~(torch.tensor(distance) <= 2), 0.0),
        lambda p, x: jnp.where(jnp.asarray(distance) < 2, x @ p["w"], 0.0),
        {"w": numbers(4, 6)},
        numbers(6, 4),
    )
    assert cause is not None
    assert cause.name == "mask", cause
    assert "compares by <=" in cause.text, cause


def test_an_index_that_is_off_by_one_is_a_shift() -> None:
    cause = cause_of(
        lambda p, t: torch.cumprod(torch.sigmoid(p["w"]), 0)[t] * 2,
        lambda p, t: jnp.cumprod(jax.nn.sigmoid(p["w"]))[t - 1] * 2,
        {"w": numbers(9)},
        np.array([3, 5, 1, 8], np.int32),
    )
    assert cause is not None
    assert cause.name == "shift", cause


def test_parts_joined_in_the_other_order_are_no_shift() -> None:
    cause = cause_of(
        lambda p, x: torch.cat([torch.tanh(x @ p["w"]), x.sin()], -1) @ p["v"],
        lambda p, x: jnp.concatenate([jnp.sin(x), jnp.tanh(x @ p["w"])], -1) @ p["v"],
        {"w": numbers(4, 7), "v": numbers(11, 3)},
        numbers(5, 4),
    )
    assert cause is not None
    assert cause.name == "order", cause
    assert "joins the parts along axis 1 in the order (1, 0)" in cause.text, cause


def test_a_root_too_many_is_no_squared_activation() -> None:
    cause = cause_of(
        lambda p, x: (lambda n: n / (1 + n) * x)((x @ p["w"]).square().sum(-1, keepdim=True)),
        lambda p, x: (lambda n: jnp.sqrt(n) / (1 + n) * x)(jnp.square(x @ p["w"]).sum(-1, keepdims=True)),
        {"w": numbers(4, 6)},
        numbers(5, 4),
    )
    assert cause is not None
    assert "squared ReLU" not in cause.text, cause
    assert "root" in cause.text or "sqrt" in cause.text, cause


def test_the_call_of_a_line_that_several_calls_lead_to_is_shown() -> None:
    def dense(p: Any, name: str, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ p[name])

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(x @ p["w"])
        return torch.tanh(x @ p["v"])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        x = dense(p, "w", x)
        return dense(p, "v", 2 * x) / 2  # CALL

    report = report_of(reference, candidate, {"w": numbers(4, 4), "v": numbers(4, 4, seed=1)}, numbers(5, 4))
    assert "# CALL" in str(report), str(report)


def test_a_value_that_is_summed_is_not_explained_by_the_order_of_its_entries() -> None:
    """A sum does not see the order: the reference's own value, moved, explained whatever was wrong."""
    cause = cause_of(
        lambda p, x: (torch.sin(x @ p["w"]) * x.cos().roll(1, 0) * x).mean(),
        lambda p, x: (jnp.sin(x @ p["w"]) * jnp.exp(-jnp.abs(x)) * x).mean(),
        {"w": numbers(4, 4)},
        numbers(4, 4, seed=1),
    )
    assert cause is None or "halves" not in cause.text, cause


def test_the_lines_that_make_a_mask_are_listed() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        region = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
        hidden = torch.where(region[:, None] == region, 0.0, -100.0).to(x)
        return torch.softmax(x @ p["w"] @ x.T + hidden, -1) @ x

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        region = jnp.array([0, 0, 0, 0, 1, 1, 1, 1])
        same = region[:, None] == region  # MADE
        s = x @ p["w"] @ x.T
        return jax.nn.softmax(jnp.where(same, s, s - 100.0), -1) @ x

    report = report_of(reference, candidate, {"w": numbers(4, 4)}, numbers(8, 4, seed=1))
    fault = report.divergences[0]
    assert fault.cause is not None, str(report)
    assert fault.cause.name is CauseKind.MASK, fault.cause
    assert any("# MADE" in place.code for place in fault.candidate), fault.candidate


def test_the_line_that_makes_an_operand_is_listed() -> None:
    """A bias lies transposed where it is made; it is added lines later."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x @ x.T + torch.tanh(p["w"]).T, -1) @ x

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        bias = jnp.swapaxes(jnp.tanh(p["w"]).T, 0, 1)  # MADE
        s = x @ x.T
        return jax.nn.softmax(s + bias, -1) @ x

    report = report_of(reference, candidate, {"w": numbers(4, 4)}, numbers(4, 4, seed=1))
    fault = report.divergences[0]
    assert any("# MADE" in place.code for place in fault.candidate), fault.candidate
