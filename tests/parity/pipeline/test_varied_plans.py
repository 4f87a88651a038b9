"""A plan is a hypothesis: right ports whose weights lie otherwise than the first plan that fits has it.

Beside them stand wrong ports, which no plan may excuse, and what a user says of the plan, which always wins.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.frameworks.jax.jax_uses import jax_uses
from parity.pipeline import varying
from parity.report.results import Report, Verdict
from parity.trace.graph import Trace
from parity.weights import Plan
from parity.weights.alternatives import Alternative
from parity.weights.transfer import Transfer
from tests.kit.inputs import normal
from tests.kit.weights import randomise, shapes

Apply = Callable[[Any, jax.Array], jax.Array]

QUICK = parity.Settings(finite_differences=False, localise=False)


def checked(module: nn.Module, apply: Apply, template: Any, x: Any, **wishes: Any) -> Report:
    weights = parity.Weights(template=shapes(template), **wishes)
    return parity.check(randomise(module), apply, {"x": x}, weights=weights, settings=QUICK)


def said(report: Report) -> str:
    return "\n".join(report.findings)


class Patches(nn.Module):
    """Patches of 4 x 4 pixels, flattened channels first or last, for a linear layer."""

    def __init__(self, channels_last: bool) -> None:
        super().__init__()
        self.order = (0, 2, 4, 3, 5, 1) if channels_last else (0, 2, 4, 1, 3, 5)
        self.proj, self.head = nn.Linear(48, 10), nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cut = x.reshape(-1, 3, 2, 4, 2, 4).permute(self.order).reshape(-1, 4, 48)
        return self.head(torch.tanh(self.proj(cut)).mean(1))


def patches(order: tuple[int, ...], factor: float = 1.0) -> Apply:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        cut = x.reshape(-1, 3, 2, 4, 2, 4).transpose(order).reshape(-1, 4, 48)
        h = jnp.tanh(factor * (cut @ p["proj"]["kernel"]) + p["proj"]["bias"]).mean(1)
        return h @ p["head"]["kernel"] + p["head"]["bias"]

    return apply


PATCHES = {"proj": {"kernel": (48, 10), "bias": (10,)}, "head": {"kernel": (10, 5), "bias": (5,)}}
FIRST, LAST = (0, 2, 4, 1, 3, 5), (0, 2, 4, 3, 5, 1)


@pytest.mark.parametrize(("torch_last", "order", "word"), [(False, LAST, "last"), (True, FIRST, "first")])
def test_a_kernel_of_patches_in_the_other_order(torch_last: bool, order: Any, word: str) -> None:
    report = checked(Patches(torch_last), patches(order), PATCHES, normal(2, 3, 8, 8))
    assert report.verdict is Verdict.PASS
    assert f"`proj.weight` lies channels {word} in the candidate" in said(report)


def test_a_wrong_port_fails_and_the_report_says_that_the_plan_was_varied() -> None:
    report = checked(Patches(False), patches(LAST, factor=1.5), PATCHES, normal(2, 3, 8, 8))
    assert report.verdict is Verdict.FAIL
    assert "the plan was varied" in said(report)
    assert "more of the two agrees, but not the outputs, if `proj.weight` lies channels last" in said(report)


def test_what_the_user_pins_is_not_varied() -> None:
    pins = {"proj.weight": ("proj/kernel", (1, 0))}
    report = checked(Patches(False), patches(LAST), PATCHES, normal(2, 3, 8, 8), pins=pins)
    assert report.verdict is Verdict.FAIL


def test_a_linear_layer_as_a_convolution_over_the_whole_map() -> None:
    def conv(x: jax.Array, p: Any) -> jax.Array:
        names = ("NHWC", "HWIO", "NHWC")
        return (
            jax.lax.conv_general_dilated(x, p["kernel"], (1, 1), "VALID", dimension_numbers=names) + p["bias"]
        )

    def apply(p: Any, x: jax.Array) -> jax.Array:
        return conv(jax.nn.relu(conv(x, p["conv"])), p["fc"])[:, 0, 0]

    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4 * 5, 7))
    template = {
        "conv": {"kernel": (3, 3, 3, 6), "bias": (6,)},
        "fc": {"kernel": (4, 5, 6, 7), "bias": (7,)},
    }
    report = checked(module, apply, template, normal(2, 3, 6, 7))
    assert report.verdict is Verdict.PASS
    assert "`3.weight` lies channels last in the candidate" in said(report)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).reshape(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = torch.softmax(q @ k.mT / 2, -1) @ v
        return self.out(attended.transpose(1, 2).reshape(B, T, D))


def attended(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.softmax(q @ k.swapaxes(-1, -2) / 2, -1) @ v


def test_one_head_mapped_over_the_heads_of_packed_weights() -> None:
    def head(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return attended(*jnp.split(x @ kernel + bias, 3, -1))

    def apply(p: Any, x: jax.Array) -> jax.Array:
        heads = jax.vmap(head, in_axes=(None, 0, 0), out_axes=2)(x, p["qkv"], p["qkv_bias"])
        return heads.reshape(x.shape) @ p["out"] + p["out_bias"]

    template = {"qkv": (3, 12, 12), "qkv_bias": (3, 12), "out": (12, 12), "out_bias": (12,)}
    report = checked(Attention(12, 3), apply, template, normal(2, 5, 12))
    assert report.verdict is Verdict.PASS
    assert "`qkv.weight` lies in another order in the candidate" in said(report)


def test_one_head_mapped_over_the_heads_of_three_kernels() -> None:
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = (f(x).unflatten(-1, (4, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
            heads = torch.softmax(q @ k.mT / 2, -1) @ v
            return self.o(heads.transpose(1, 2).flatten(2))

    def head(x: jax.Array, *w: jax.Array) -> jax.Array:
        return attended(x @ w[0] + w[1], x @ w[2] + w[3], x @ w[4] + w[5])

    def apply(p: Any, x: jax.Array) -> jax.Array:
        names = ("wq", "bq", "wk", "bk", "wv", "bv")
        heads = jax.vmap(head, in_axes=(None, *[0] * 6))(x, *(p[name] for name in names))
        return jnp.einsum("hbtd,hde->bte", heads, p["wo"]) + p["bo"]

    template = {f"w{n}": (4, 16, 4) for n in "qkv"} | {f"b{n}": (4, 4) for n in "qkv"}
    report = checked(Apart(), apply, {**template, "wo": (4, 4, 16), "bo": (16,)}, normal(2, 5, 16))
    assert report.verdict is Verdict.PASS


class BothWays(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.rnn, self.out = kind(6, 6, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(x)[0])


def lstm(p: Any, x: jax.Array) -> jax.Array:
    def step(state: Any, now: jax.Array) -> Any:
        h, c = state
        i, f, g, o = jnp.split(now @ p["wi"] + h @ p["wh"] + p["b"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((x.shape[0], 6))
    return jax.lax.scan(step, (zero, zero), x.swapaxes(0, 1))[1].swapaxes(0, 1)


def backward_first(names: tuple[str, str]) -> tuple[Apply, Any]:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        back = lstm(p[names[0]], x[:, ::-1])[:, ::-1]
        return jnp.concatenate([lstm(p[names[1]], x), back], -1) @ p["out"] + p["out_bias"]

    cell = {"wi": (6, 24), "wh": (6, 24), "b": (24,)}
    return apply, {names[0]: cell, names[1]: dict(cell), "out": (12, 3), "out_bias": (3,)}


def test_a_bidirectional_layer_whose_backward_cell_runs_first() -> None:
    report = checked(BothWays(nn.LSTM), *backward_first(("cell_0", "cell_1")), normal(2, 4, 6))
    assert report.verdict is Verdict.PASS
    assert "`cell_0` and `cell_1` hold each other's weights" in said(report)


def test_names_that_say_which_cell_is_which_are_not_explained_away() -> None:
    report = checked(BothWays(nn.LSTM), *backward_first(("forward_cell", "backward_cell")), normal(2, 4, 6))
    assert report.verdict is Verdict.FAIL


def test_layers_stacked_and_read_by_index_in_a_loop() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up, self.gate = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.norm(x)
            return x + torch.sigmoid(self.gate(h)) * self.up(h)

    def apply(p: Any, x: jax.Array) -> jax.Array:
        def body(i: Any, x: jax.Array) -> jax.Array:
            a, b, c, d, e, f = (p[name][i] for name in "abcdef")
            mean = x.mean(-1, keepdims=True)
            h = (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * f + c
            return x + jax.nn.sigmoid(h @ a + e) * (h @ b + d)

        return jax.lax.fori_loop(0, 3, body, x)

    template = {name: (3, 8, 8) if name in "ab" else (3, 8) for name in "abcdef"}
    report = checked(nn.Sequential(Block(), Block(), Block()), apply, template, normal(5, 8))
    assert report.verdict is Verdict.PASS


def test_weights_of_an_entry_picked_by_data_are_still_a_table() -> None:
    table = {"table": (7, 5), "kernel": (5, 2)}

    def apply(p: Any, x: jax.Array) -> jax.Array:
        def step(token: Any, now: jax.Array) -> Any:  # starts at 0, as a counter does, and is none
            h = p["table"][token] + now
            return jnp.argmax(h) % 7, h @ p["kernel"]

        return jax.lax.scan(step, 0, x)[1]

    params = {name: np.zeros(shape, np.float32) for name, shape in table.items()}
    closed = jax.make_jaxpr(lambda t, k, x: apply({"table": t, "kernel": k}, x))(
        params["table"], params["kernel"], np.zeros((4, 5), np.float32)
    )
    uses = jax_uses(closed, ["table", "kernel", None])
    assert uses["table"].operation == "gather"
    assert uses["kernel"].operation == "matmul"


def test_a_search_that_comes_back_to_a_plan_ends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either of two plans may seem better: of a state of zeros a bias is left, whichever bias it is."""
    first = Plan((Transfer("a", "c", (2,), (2,)), Transfer("b", "d", (2,), (2,))))
    second = Plan((Transfer("a", "d", (2,), (2,)), Transfer("b", "c", (2,), (2,))))

    def exchanged(plan: Plan, *_: Any) -> list[Alternative]:
        return [Alternative(second if plan is first else first, ("c", "d"), "exchanged")]

    class Place:
        near = frontier = ("c", "d")

        def __init__(self, *_: Any) -> None:
            """Of no trace."""

        def mended(self, *_: Any, **__: Any) -> int:
            return 1

    monkeypatch.setattr(varying, "alternatives", exchanged)
    monkeypatch.setattr(varying, "Parting", Place)
    nothing = Trace([], {}, {}, {})
    varied = varying.vary_plan(
        first,
        {},
        {},
        reference=nothing,
        trace=lambda plan: nothing,
        weights={"a": np.zeros(2), "b": np.ones(2)},
        sizes=(),
        agree=lambda plan: False,
    )
    assert varied.plan is first
    assert "(1 tried)" in varied.notes[0]


class Bare(nn.Module):
    """Two bare square matrices with names of their own, and a layer behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.U = nn.Parameter(torch.zeros(6, 6)), nn.Parameter(torch.zeros(6, 6))
        self.fc = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(x @ self.W) @ self.U)


def test_a_transposed_namesake_is_not_explained_by_an_order_of_features() -> None:
    """A transposition and an order of the features, undone by the next layer, would make the two agree."""

    def port(p: Any, x: jax.Array) -> jax.Array:
        return (jnp.tanh(x @ p["W"]) @ p["U"].T) @ p["fc"]["kernel"] + p["fc"]["bias"]

    square = np.zeros((6, 6), np.float32)
    template = {"W": square, "U": square, "fc": {"kernel": square, "bias": np.zeros(6, np.float32)}}
    report = checked(Bare(), port, template, normal(7, 6))
    assert report.verdict is Verdict.FAIL, report


class Flattened(nn.Module):
    """Two square layers, the first on a map of 8 places and 2 channels, flattened channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.tanh(self.fc1(torch.tanh(x).permute(0, 2, 1).flatten(1))))


def test_one_layer_of_a_stack_may_lie_otherwise() -> None:
    """The port flattens channels last, and holds both layers in one array."""

    def port(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(jnp.tanh(x).reshape(x.shape[0], -1) @ p["fc"][0] + p["b"][0])
        return h @ p["fc"][1] + p["b"][1]

    template = {"fc": np.zeros((2, 16, 16), np.float32), "b": np.zeros((2, 16), np.float32)}
    report = checked(Flattened(), port, template, normal(5, 8, 2))
    assert report.verdict is Verdict.PASS, report


class Triangular(nn.Module):
    """An invertible matrix as its factors, as Glow's: the other side needs the permutation, and no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(4, 4).tril(-1))
        self.register_buffer("permutation", torch.eye(4)[[2, 0, 3, 1]])
        self.register_buffer("identity", torch.eye(4))
        self.lower, self.upper = nn.Parameter(torch.zeros(4, 4)), nn.Parameter(torch.zeros(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lower = self.lower * self.mask + self.identity
        return x @ (self.permutation @ lower @ (self.upper * self.mask.T + self.identity))


def triangular(diagonal: float) -> Apply:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        for own in p:
            one = diagonal * jnp.eye(4, dtype=x.dtype)
            x = x @ (own["perm"] @ (jnp.tril(own["l"], -1) + one) @ (jnp.triu(own["u"], 1) + jnp.eye(4)))
        return x

    return apply


@pytest.mark.parametrize(("diagonal", "verdict"), [(1.0, Verdict.PASS), (2.0, Verdict.FAIL)])
def test_some_tables_of_one_side_alone(diagonal: float, verdict: Verdict) -> None:
    module = nn.Sequential(Triangular(), Triangular())
    for name, own in module.named_parameters():
        nn.init.normal_(own, generator=torch.Generator().manual_seed(len(name)))
    weights = parity.Weights(template=shapes([{"perm": (4, 4), "l": (4, 4), "u": (4, 4)}] * 2))
    report = parity.check(module, triangular(diagonal), {"x": normal(5, 4)}, weights=weights, settings=QUICK)
    assert report.verdict is verdict, str(report)
    assert "0.mask" in str(report)


def averaged(read: str) -> Apply:
    """A batch norm whose moving averages have a second leaf each, as Haiku's, which only training reads."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = x @ p["fc"]["w"] + p["fc"]["b"]
        mean, variance = (p["norm"][f"{name}_ema"][read] for name in ("mean", "var"))
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * p["norm"]["scale"] + p["norm"]["offset"]

    return apply


def test_leaves_that_are_never_read() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = {"average": (4,), "hidden": (4,)}
    norm = {"scale": (4,), "offset": (4,), "mean_ema": average, "var_ema": average}
    weights = parity.Weights(template=shapes({"fc": {"w": (3, 4), "b": (4,)}, "norm": norm}))
    inputs = {"x": normal(5, 3)}
    report = parity.check(
        randomise(module).eval(), averaged("average"), inputs, weights=weights, settings=QUICK
    )
    assert report.verdict is Verdict.PASS, str(report)
    assert "hidden" not in str(report.plan)


def test_complex_weights_that_could_change_places() -> None:
    """Running tells them apart, imaginary parts and all."""

    class Filters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (nn.Parameter(torch.zeros(4, dtype=torch.complex64)) for _ in range(2))
            for number, own in enumerate((self.a, self.b)):
                real = torch.tensor(normal(4, 2, seed=number))
                own.data = torch.view_as_complex(real)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (torch.fft.fft(x) * self.a).real + (torch.fft.fft(x.flip(0)) * self.b).real

    def apply(p: Any, x: jax.Array) -> jax.Array:
        return (jnp.fft.fft(x[::-1]) * p["two"]).real + (jnp.fft.fft(x) * p["one"]).real

    template = {name: jax.ShapeDtypeStruct((4,), np.complex64) for name in ("two", "one")}
    weights = parity.Weights(template=template)
    report = parity.check(Filters(), apply, {"x": normal(5, 4)}, weights=weights, settings=QUICK)
    assert report.verdict is Verdict.PASS, str(report)
