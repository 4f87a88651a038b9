"""Plans within one framework: a model and its rewrite, of which either may be the reference."""

import numpy as np
import pytest
import torch
from torch import nn

from parity.frameworks.torch.torch_model import read_torch
from parity.report.sides import Sides
from parity.weights import Plan, Signature, Transfer, Use, WeightError, find_plan

E, F, D, H = 8, 32, 3, 4

Arrays = dict[str, Signature]
Ways = set[tuple[str, str, str]]
"""(tensor, leaf, how) of every transfer."""


def ways(plan: Plan) -> Ways:
    return {(t.tensor_name, t.leaf_path, t.how) for t in plan.transfers}


def bare(*shape: int, use: Use | None = None) -> Signature:
    return Signature(shape, use=use)


def product(position: int, over: int) -> Use:
    return Use(position, "matmul", (over,))


def linear(*shape: int, at: int | None = None) -> Signature:
    return Signature(shape, "Linear", None if at is None else product(at, 1))


def of_module(module: nn.Module, prefix: str = "") -> Arrays:
    return {f"{prefix}{name}": known for name, known in read_torch(module).signatures.items()}


ROWS = ("0:8", "8:16", "16:24")
QKV = ("q", "k", "v")
GATES = "ifgo"

LAYERS = {
    f"layers.{i}.{n}.{kind}": Signature(shape, "Linear")
    for i in range(3)
    for n in ("up", "down")
    for kind, shape in (("weight", (E, E)), ("bias", (E,)))
}
STACKS = {
    f"stack/{n}/{kind}": bare(3, *shape, use=use)
    for at, n in enumerate(("up", "down"))
    for kind, shape, use in (("w", (E, E), product(2 * at, 1)), ("b", (E,), Use(2 * at + 1, "add")))
}

PAIRS: dict[str, tuple[Arrays, Arrays, Ways]] = {
    "a linear layer against a matrix (in, out)": (
        {"fc.weight": linear(F, E), "fc.bias": Signature((F,), "Linear")},
        {"w": bare(E, F), "b": bare(F)},
        {("fc.weight", "w", "permute (1, 0)"), ("fc.bias", "b", "as it is")},
    ),
    "a square linear layer against a matrix (in, out), by use": (
        {"fc.weight": linear(E, E, at=1)},
        {"w": bare(E, E, use=product(7, 0))},
        {("fc.weight", "w", "permute (1, 0)")},
    ),
    "a square matrix (in, out) against a linear layer, by use": (
        {"w": bare(E, E, use=product(7, 0))},
        {"fc.weight": linear(E, E, at=1)},
        {("w", "fc.weight", "permute (1, 0)")},
    ),
    "two square linear layers": (
        {"a.weight": linear(E, E)},
        {"a.weight": linear(E, E)},
        {("a.weight", "a.weight", "as it is")},
    ),
    "a square matrix of which nothing is known keeps its layout": (
        {"w": bare(E, E)},
        {"matrix": bare(E, E)},
        {("w", "matrix", "as it is")},
    ),
    "a linear layer against a convolution of one pixel": (
        {"fc.weight": linear(F, E)},
        {"conv.weight": Signature((F, E, 1, 1), "Conv2d")},
        {("fc.weight", "conv.weight", "reshape (32, 8, 1, 1)")},
    ),
    "a linear layer over an image against a convolution of all of it": (
        {"fc.weight": linear(F, E * 9)},
        {"conv.weight": Signature((F, E, 3, 3), "Conv2d")},
        {("fc.weight", "conv.weight", "reshape (32, 8, 3, 3)")},
    ),
    "a convolution against a kernel HWIO": (
        {"conv.weight": Signature((3, 3, 3, 3), "Conv2d", Use(0, "conv", (1, 2, 3)))},
        {"k": bare(3, 3, 3, 3, use=Use(5, "conv", (0, 1, 2)))},
        {("conv.weight", "k", "permute (2, 3, 1, 0)")},
    ),
    "a kernel HWIO against a convolution": (
        {"k": bare(3, 3, 3, 3, use=Use(5, "conv", (0, 1, 2)))},
        {"conv.weight": Signature((3, 3, 3, 3), "Conv2d", Use(0, "conv", (1, 2, 3)))},
        {("k", "conv.weight", "permute (3, 2, 0, 1)")},
    ),
    "a convolution against the function": (
        {"conv.weight": Signature((3, 3, 3, 3), "Conv2d")},
        {"k": bare(3, 3, 3, 3, use=Use(5, "conv", (1, 2, 3)))},
        {("conv.weight", "k", "as it is")},
    ),
    "a transposed convolution against the function": (
        {"up.weight": Signature((4, 4, 3, 3), "ConvTranspose2d", Use(0, "conv", (0,)))},
        {"k": bare(4, 4, 3, 3, use=Use(5, "conv", (0,)))},
        {("up.weight", "k", "as it is")},
    ),
    "a transposed convolution against a convolution of the spread-out input": (
        {"up.weight": Signature((4, 4, 3, 3), "ConvTranspose2d", Use(0, "conv", (0,)))},
        {"conv.weight": Signature((4, 4, 3, 3), "Conv2d", Use(5, "conv", (1, 2, 3)))},
        {("up.weight", "conv.weight", "permute (1, 0, 2, 3), flip (2, 3)")},
    ),
    "a convolution of the spread-out input against a transposed one": (
        {"k": bare(4, 4, 3, 3, use=Use(5, "conv", (1, 2, 3)))},
        {"up.weight": Signature((4, 4, 3, 3), "ConvTranspose2d", Use(0, "conv", (0,)))},
        {("k", "up.weight", "permute (1, 0, 2, 3), flip (2, 3)")},
    ),
    "packed attention against three linear layers": (
        of_module(nn.MultiheadAttention(E, 2), "attn."),
        {
            f"{n}.{kind}": Signature(s, "Linear")
            for n in "qkvo"
            for kind, s in (("weight", (E, E)), ("bias", (E,)))
        },
        {
            *(
                (f"attn.in_proj_{kind}", f"{n}.{kind}", f"take [{at}]")
                for kind in ("weight", "bias")
                for n, at in zip(QKV, ROWS, strict=True)
            ),
            ("attn.out_proj.weight", "o.weight", "as it is"),
            ("attn.out_proj.bias", "o.bias", "as it is"),
        },
    ),
    "three linear layers against packed attention": (
        {
            f"{n}.{kind}": Signature(s, "Linear")
            for n in "qkvo"
            for kind, s in (("weight", (E, E)), ("bias", (E,)))
        },
        of_module(nn.MultiheadAttention(E, 2), "attn."),
        {
            *(
                (f"{n}.{kind}", f"attn.in_proj_{kind}", f"into [{at}]")
                for kind in ("weight", "bias")
                for n, at in zip(QKV, ROWS, strict=True)
            ),
            ("o.weight", "attn.out_proj.weight", "as it is"),
            ("o.bias", "attn.out_proj.bias", "as it is"),
        },
    ),
    "an LSTM against a cell with packed gates and one bias": (
        of_module(nn.LSTM(D, H), "lstm."),
        {"cell.w_i": bare(D, 4 * H), "cell.w_h": bare(H, 4 * H), "cell.b": bare(4 * H)},
        {
            ("lstm.weight_ih_l0", "cell.w_i", "permute (1, 0)"),
            ("lstm.weight_hh_l0", "cell.w_h", "permute (1, 0)"),
            ("lstm.bias_ih_l0", "cell.b", "as it is"),
            ("lstm.bias_hh_l0", "cell.b", "as it is"),
        },
    ),
    "an LSTM against a cell with a matrix for each gate": (
        of_module(nn.LSTM(D, H, bias=False)),
        {f"{side}{gate}": bare(H, size) for side, size in (("i", D), ("h", H)) for gate in GATES},
        {
            (f"weight_{side}h_l0", f"{side}{gate}", f"take [{4 * i}:{4 * i + 4}]")
            for side in "ih"
            for i, gate in enumerate(GATES)
        },
    ),
    "an LSTM against its cell": (
        of_module(nn.LSTM(D, H), "rnn."),
        of_module(nn.LSTMCell(D, H), "cell."),
        {(f"rnn.{n}_l0", f"cell.{n}", "as it is") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    ),
    "a GRU of two layers and directions against itself": (
        of_module(nn.GRU(H, H, num_layers=2, bidirectional=True)),
        of_module(nn.GRU(H, H, num_layers=2, bidirectional=True)),
        {(name, name, "as it is") for name in of_module(nn.GRU(H, H, num_layers=2, bidirectional=True))},
    ),
    "a tied embedding against a tied one": (
        {"embed.weight": Signature((50, E), "Embedding", tied=("head.weight",))},
        {"wte.weight": Signature((50, E), "Embedding", tied=("lm_head.weight",))},
        {("embed.weight", "wte.weight", "as it is")},
    ),
    "a tied embedding against an embedding and a head": (
        {"embed.weight": Signature((50, E), "Embedding", tied=("head.weight",))},
        {"wte.weight": Signature((50, E), "Embedding"), "lm_head.weight": linear(50, E)},
        {("embed.weight", "wte.weight", "as it is"), ("embed.weight", "lm_head.weight", "as it is")},
    ),
    "layers against a stack of them": (
        LAYERS,
        STACKS,
        {
            (f"layers.{i}.{n}.{kind}", f"stack/{n}/{short}", f"{how}into [{i}]")
            for i in range(3)
            for n in ("up", "down")
            for kind, short, how in (("weight", "w", "permute (1, 0), "), ("bias", "b", ""))
        },
    ),
    "a stack of layers against the layers": (
        STACKS,
        LAYERS,
        {
            (f"stack/{n}/{short}", f"layers.{i}.{n}.{kind}", f"take [{i}]{how}")
            for i in range(3)
            for n in ("up", "down")
            for kind, short, how in (("weight", "w", ", permute (1, 0)"), ("bias", "b", ""))
        },
    ),
    "a stack of packed layers against layers whose names say nothing": (
        {"blocks/qkv": bare(2, E, 3 * E, use=product(3, 1)), "blocks/o": bare(2, E, E, use=product(9, 1))},
        {f"z{place}": bare(E, E, use=product(10 * place, 0)) for place in range(8)},
        {
            *(
                ("blocks/qkv", f"z{4 * i + k}", f"take [{i}, :, {ROWS[k]}]")
                for i in range(2)
                for k in range(3)
            ),
            *(("blocks/o", f"z{4 * i + 3}", f"take [{i}]") for i in range(2)),
        },
    ),
    "names with slashes against names with dots": (
        {"net/a/w": bare(E, E), "net/b/w": bare(E, E)},
        {"net.b.w": bare(E, E), "net.a.w": bare(E, E)},
        {("net/a/w", "net.a.w", "as it is"), ("net/b/w", "net.b.w", "as it is")},
    ),
    "a batch norm against one by hand whose names say nothing": (
        {
            f"bn.{n}": Signature((E,), "BatchNorm1d", Use(at, "other"))
            for n, at in (("weight", 6), ("bias", 7), ("running_mean", 5), ("running_var", 4))
        },
        {
            "p": bare(E, use=Use(2, "add")),
            "q": bare(E, use=Use(3, "add")),
            "r": bare(E, use=Use(5, "mul")),
            "s": bare(E, use=Use(6, "add")),
        },
        {
            ("bn.running_mean", "p", "as it is"),
            ("bn.running_var", "q", "as it is"),
            ("bn.weight", "r", "as it is"),
            ("bn.bias", "s", "as it is"),
        },
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_model_and_its_rewrite(case: str) -> None:
    tensors, leaves, wanted = PAIRS[case]
    plan = find_plan(tensors, leaves, alike=True, sides=Sides.of("PyTorch", "PyTorch"))
    assert ways(plan) == wanted
    assert not plan.reversed


def cell(packed: bool) -> Arrays:
    """An LSTM cell by hand: matrices (in, out), one bias."""
    if packed:
        return {"cell.w_i": bare(D, 4 * H), "cell.w_h": bare(H, 4 * H), "cell.b": bare(4 * H)}
    sizes = {"i": (D, H), "h": (H, H)}
    found = {f"cell.w_{side}{gate}": bare(*size) for side, size in sizes.items() for gate in GATES}
    return found | {f"cell.b_{gate}": bare(H) for gate in GATES}


@pytest.mark.parametrize("packed", [True, False])
def test_a_layer_with_two_biases_is_planned_from_its_own_side(packed: bool) -> None:
    """One bias for two that add up is no map from the one; the plan goes the other way and says so."""
    lstm = of_module(nn.LSTM(D, H), "lstm.")
    plan = find_plan(cell(packed), lstm, alike=True)
    assert plan.reversed
    assert {t.tensor_name for t in plan.transfers} == set(lstm)
    assert {t.leaf_path for t in plan.transfers} == set(cell(packed))
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(known.shape) for name, known in cell(packed).items()}
    loaded = plan.to_candidate(weights)
    assert {name: array.shape for name, array in loaded.items()} == {n: s.shape for n, s in lstm.items()}
    assert not loaded["lstm.bias_hh_l0"].any()
    again = plan.to_reference(loaded)
    assert all(np.array_equal(again[name], array) for name, array in weights.items())
    other = find_plan(lstm, cell(packed), alike=True)
    assert not other.reversed
    assert ways(other) == ways(plan)


def test_pins_go_the_other_way_too() -> None:
    lstm = of_module(nn.LSTM(D, D), "lstm.")
    by_hand = {"one": bare(D, 4 * D), "two": bare(D, 4 * D), "b": bare(4 * D)}
    plan = find_plan(by_hand, lstm, alike=True, pins={"two": ("lstm.weight_ih_l0", (1, 0))})
    assert plan.reversed
    assert plan.names()["lstm.weight_ih_l0"] == "two"
    assert plan.names()["lstm.weight_hh_l0"] == "one"
    with pytest.raises(WeightError, match=r"missing candidate leaf 'lstm\.bias_hh_l0'"):
        find_plan(
            by_hand,
            lstm,
            alike=True,
            pins={
                "one": ["lstm.weight_ih_l0"],
                "two": [Transfer("two", "lstm.weight_hh_l0", (D, 4 * D), (4 * D, D), axes=(1, 0))],
            },
            sides=Sides.of("PyTorch", "PyTorch"),
        )


class Block(nn.Module):
    """Every kind of layer that holds weights, square where it can be."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(E, E)
        self.conv = nn.Conv2d(3, 3, 3)
        self.up = nn.ConvTranspose2d(3, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(E, 2, E) for _ in range(12)])
        self.lstm = nn.LSTM(E, E, num_layers=2, bidirectional=True)
        self.scale = nn.Parameter(torch.ones(E, E))


def never(plan: Plan) -> float:
    return 1.0 if {t.how for t in plan.transfers} == {"as it is"} else 0.0


def test_a_model_against_itself_is_the_identity() -> None:
    known = of_module(Block())
    plan = find_plan(known, dict(reversed(known.items())), alike=True, try_plan=never)
    assert plan.names() == {name: name for name in known}
    assert {t.how for t in plan.transfers} == {"as it is"}
    assert find_plan(known, known, alike=True).names() == plan.names()


def test_a_prefix_and_another_order_of_definition_change_nothing() -> None:
    known = of_module(Block())
    other = {f"module.net.{name}": one for name, one in sorted(known.items())}
    plan = find_plan(known, other, alike=True)
    assert plan.names() == {name: f"module.net.{name}" for name in known}


def test_equal_names_outweigh_another_order_of_use() -> None:
    tensors = {f"{n}.weight": linear(E, E, at=at) for at, n in enumerate("abc")}
    leaves = {f"{n}.weight": linear(E, E, at=at) for at, n in enumerate("cab")}
    plan = find_plan(tensors, leaves, alike=True)
    assert plan.names() == {name: name for name in tensors}
    # What a model calls its weights is not to be explained away by trying others.
    wrong = {"a.weight": "c.weight", "b.weight": "a.weight", "c.weight": "b.weight"}
    tried = find_plan(tensors, leaves, alike=True, try_plan=lambda plan: float(plan.names() == wrong))
    assert tried.names() == plan.names()


def test_equal_names_are_no_proof() -> None:
    """A rewrite calls what was multiplied by `a` now `b`, and what was added `a`."""
    tensors = {"a": bare(E, use=Use(1, "mul")), "b": bare(E, use=Use(2, "add"))}
    leaves = {"a": bare(E, use=Use(2, "add")), "b": bare(E, use=Use(1, "mul"))}
    assert find_plan(tensors, leaves, alike=True).names() == {"a": "b", "b": "a"}
    other_shape = {"fc.weight": linear(F, E), "out.weight": linear(E, F)}
    renamed = {"fc.weight": linear(E, F), "out.weight": linear(F, E)}
    plan = find_plan(other_shape, renamed, alike=True)
    assert plan.names() == {"fc.weight": "out.weight", "out.weight": "fc.weight"}


def test_a_wrong_guess_about_a_square_is_mended_by_running() -> None:
    def try_plan(plan: Plan) -> float:
        return float(plan.transfers[0].axes == (1, 0))

    plan = find_plan({"w": bare(E, E)}, {"matrix": bare(E, E)}, alike=True, try_plan=try_plan)
    assert plan.transfers[0].axes == (1, 0)


def test_kernel_and_weight_lie_otherwise_and_only_evidence_settles_it() -> None:
    """Flax calls a matrix (in, out) `kernel`, Equinox one (out, in) `weight`."""
    with pytest.raises(WeightError, match="is square"):
        find_plan({"Dense_0/kernel": (E, E)}, {"linear/weight": (E, E)}, alike=True)
    others = {"Dense_0/kernel": (E, E), "Dense_1/kernel": (E, F)}
    plan = find_plan(others, {"a/weight": (E, E), "b/weight": (F, E)}, alike=True)
    assert {t.axes for t in plan.transfers} == {(1, 0)}


def test_what_is_left_over_is_named_by_side() -> None:
    sides = Sides.of("JAX", "JAX")
    with pytest.raises(WeightError) as caught:
        find_plan({"a/kernel": (2, 3)}, {"b/weight": (5,)}, alike=True, sides=sides)
    assert "unused reference tensor 'a/kernel' (2, 3), whole" in str(caught.value)
    assert "missing candidate leaf 'b/weight' (5,), whole" in str(caught.value)
    with pytest.raises(WeightError, match=r"(?s)unused PyTorch tensor 'a'.*missing JAX leaf 'b'"):
        find_plan({"a": (2,)}, {"b": (5,)}, reversed=True)
    with pytest.raises(WeightError, match="uses a candidate leaf twice"):
        find_plan({"a": (2,), "b": (2,)}, {"c": (2,)}, pins={"a": "c", "b": "c"}, sides=sides)


def test_plans_are_tried_in_their_own_direction() -> None:
    seen: list[bool] = []

    def try_plan(plan: Plan) -> float:
        seen.append(plan.reversed)
        return 1.0

    plan = find_plan({"w": (E, E)}, {"kernel": (E, E)}, reversed=True, try_plan=try_plan)
    assert plan.reversed
    assert seen == [True]


@pytest.mark.parametrize("turned", [False, True])
def test_square_kernels_of_convolutions_are_open_without_their_uses(turned: bool) -> None:
    """Flax's HWIO is `kernel`, Equinox's OIHW `weight`: the names alone do not settle it, running does."""
    sides = {"kernel": (3, 3, 3, 3)}, {"weight": (3, 3, 3, 3)}
    tensors, leaves = reversed(sides) if turned else sides
    axes = (2, 3, 1, 0) if turned else (3, 2, 0, 1)
    with pytest.raises(WeightError, match="is square"):
        find_plan(tensors, leaves, alike=True)
    plan = find_plan(tensors, leaves, alike=True, try_plan=lambda plan: float(plan.transfers[0].axes == axes))
    assert plan.transfers[0].axes == axes
    rest = find_plan({"kernel": (3, 3, 3, 3)}, {"k": (3, 3, 3, 3)}, alike=True)
    assert rest.transfers[0].how == "as it is"


def test_a_scalar_and_an_empty_side() -> None:
    for alike in (False, True):
        assert find_plan({"s": ()}, {"t": (1,)}, alike=alike).names() == {"s": "t"}
        assert find_plan({}, {}, alike=alike).transfers == ()
