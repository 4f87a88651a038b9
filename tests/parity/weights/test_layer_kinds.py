"""A new kind of layer is one row of the table: nothing else is changed to plan it."""

import itertools
from typing import Any

import numpy as np
import pytest

from parity.frameworks.torch.torch_model import read_torch
from parity.weights import Plan, Signature, Use, WeightError, find_plan, layer_kinds
from parity.weights.layer_kinds import KINDS, LayerKind, Order, kind_of, layer_name
from parity.weights.layouts import End, layouts

E, F, D, H = 8, 32, 3, 4

MIXER = LayerKind(
    "mixer",
    r"Mixer\dd",
    axes="in out ...",
    summed="in",
    orders=(Order("... out in", backwards=True), Order("in out ...", 1.0)),
    operations=(("bias", "mul"),),
    packed="out",
    parts=("left", "right"),
)
"""A made-up layer: its kernel is (in, out, ...), it runs backwards elsewhere, and its bias is a factor."""

MINIMAL = LayerKind("MGU", "MGU", is_recurrent=True, gates="fn", is_last_apart=True)
"""The minimal gated unit: a forget gate and a candidate."""


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_kinds, "KINDS", (*KINDS, MIXER, MINIMAL))


def ways(plan: Plan) -> dict[str, tuple[str, str]]:
    return {t.tensor_name: (t.leaf_path, t.how) for t in plan.transfers}


def mixer(*shape: int) -> Signature:
    return Signature(shape, "Mixer2d")


def test_without_its_row_a_layer_lies_as_shapes_say() -> None:
    plan = find_plan({"m.weight": mixer(4, 4, 3, 3)}, {"m/kernel": (3, 3, 4, 4)})
    assert "flip" not in plan.transfers[0].how
    with pytest.raises(WeightError, match="do not pair up"):
        find_plan({"m.weight": mixer(D, 2 * E, 2, 2)}, {f"m/{n}": (2, 2, E, D) for n in ("left", "right")})


@pytest.mark.usefixtures("rows")
def test_a_row_gives_the_layouts() -> None:
    plan = find_plan({"m.weight": mixer(4, 4, 3, 3)}, {"m/kernel": (3, 3, 4, 4)})
    assert ways(plan) == {"m.weight": ("m/kernel", "permute (2, 3, 1, 0), flip (0, 1)")}
    assert plan.transfers[0].reason == "mixer: (in, out, ...) to (..., out, in), backwards"
    kept = find_plan({"m.weight": mixer(4, 5, 3, 2)}, {"m/kernel": (4, 5, 3, 2)})
    assert (kept.transfers[0].how, kept.transfers[0].reason) == ("as it is", "mixer, kept as (in, out, ...)")


@pytest.mark.usefixtures("rows")
def test_a_row_says_what_is_summed_over() -> None:
    by_use = {"m/kernel": Signature((3, 3, 3, 3), use=Use(1, "conv", (0,)))}
    plan = find_plan({"m.weight": mixer(3, 3, 3, 3)}, by_use)
    assert ways(plan) == {"m.weight": ("m/kernel", "as it is")}


@pytest.mark.usefixtures("rows")
def test_a_row_says_how_vectors_are_used() -> None:
    tensors = {"m.bias": Signature((E,), "Mixer2d"), "b": Signature((E,), use=Use(0, "add"))}
    leaves = {"x": Signature((E,), use=Use(1, "mul")), "y": Signature((E,), use=Use(2, "add"))}
    assert find_plan(tensors, leaves).names() == {"m.bias": "x", "b": "y"}


@pytest.mark.usefixtures("rows")
def test_a_row_says_how_parts_are_packed() -> None:
    leaves = {f"m/{n}": (2, 2, E, D) for n in ("right", "left")}
    plan = find_plan({"m.weight": mixer(D, 2 * E, 2, 2)}, leaves)
    assert {t.leaf_path: t.take for t in plan.transfers} == {
        "m/left": (slice(None), slice(0, E)),
        "m/right": (slice(None), slice(E, 2 * E)),
    }


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("alike", [False, True])
def test_a_row_gives_the_gates_of_a_recurrent_layer(alike: bool) -> None:
    sizes = {"weight_ih": (2 * H, D), "weight_hh": (2 * H, H), "bias_ih": (2 * H,), "bias_hh": (2 * H,)}
    tensors = {f"rnn.{name}": Signature(shape, "MGU") for name, shape in sizes.items()}
    leaves: dict[str, Any] = {
        f"cell/{side}{gate}/kernel": (size, H) for side, size in (("i", D), ("h", H)) for gate in "fn"
    }
    leaves |= {"cell/if/bias": (H,), "cell/in/bias": (H,), "cell/hn/bias": (H,)}
    plan = find_plan(tensors, leaves, alike=alike)
    first, last = f"take [0:{H}]", f"take [{H}:{2 * H}]"
    assert {(t.tensor_name, t.leaf_path, t.how.partition(",")[0]) for t in plan.transfers} == {
        ("rnn.weight_ih", "cell/if/kernel", first),
        ("rnn.weight_ih", "cell/in/kernel", last),
        ("rnn.weight_hh", "cell/hf/kernel", first),
        ("rnn.weight_hh", "cell/hn/kernel", last),
        ("rnn.bias_ih", "cell/if/bias", first),
        ("rnn.bias_hh", "cell/if/bias", first),
        ("rnn.bias_ih", "cell/in/bias", last),
        ("rnn.bias_hh", "cell/hn/bias", last),
    }


@pytest.mark.usefixtures("rows")
def test_a_row_serves_within_one_framework_in_both_directions() -> None:
    known, bare = {"m.weight": mixer(4, 4, 3, 3)}, {"k": Signature((3, 3, 4, 4))}
    there, back = find_plan(known, bare, alike=True), find_plan(bare, known, alike=True)
    assert ways(there) == {"m.weight": ("k", "permute (2, 3, 1, 0), flip (0, 1)")}
    assert ways(back) == {"k": ("m.weight", "permute (3, 2, 0, 1), flip (2, 3)")}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.orders], ids=lambda kind: kind.name)
def test_every_layout_has_its_way_back(kind: LayerKind) -> None:
    shape = (2, 3, 5, 7)[: 4 if "..." in kind.axes else 2]
    weight = np.random.default_rng(0).standard_normal(shape)
    for axes in itertools.permutations(range(len(shape))):
        leaf = tuple(shape[axis] for axis in axes)
        for way in layouts(End(shape, kind), End(leaf), is_alike=True):
            moved = np.flip(weight.transpose(way.axes), way.flip)
            backs = layouts(End(leaf), End(shape, kind), is_alike=True)
            found = [np.flip(moved.transpose(back.axes), back.flip) for back in backs]
            assert any(np.array_equal(array, weight) for array in found)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_rows_are_consistent(kind: LayerKind) -> None:
    names = kind.axes.split()
    for order in kind.orders:
        assert sorted(set(order.axes.split()) - {"groups"}) == sorted(names)
    assert set(kind.summed.split()) <= set(names)
    assert not kind.packed or kind.packed in names
    assert {operation for _, operation in kind.operations} <= {"", "add", "mul"}
    assert kind.is_recurrent or not kind.gates


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ("Linear", "linear"),
        ("Conv1d", "convolution"),
        ("ConvTranspose3d", "transposed convolution"),
        ("EmbeddingBag", "embedding"),
        ("SyncBatchNorm", "norm"),
        ("InstanceNorm3d", "norm"),
        ("LSTMCell", "LSTM"),
        ("PReLU", None),
        ("", None),
    ],
)
def test_which_row_a_class_has(layer: str, name: str | None) -> None:
    kind = kind_of(layer)
    assert (kind and kind.name) == name


def test_variants_are_the_layer_that_they_inherit_from() -> None:
    from torch import nn

    class Own(nn.Linear):
        pass

    for module, wanted in ((nn.LazyConv2d(4, 3), "Conv2d"), (Own(2, 3), "Linear"), (nn.PReLU(), "PReLU")):
        bases = [c.__name__ for c in type(module).__mro__ if c.__module__.startswith("torch.nn.modules.")]
        assert layer_name(bases) == wanted
    assert read_torch(Own(2, 3)).signatures["weight"].layer == "Linear"
