"""The weight plan: found, complete, invertible bit for bit; everything else is an error that names it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.weights import Plan, Signature, Transfer, WeightError, find_plan, load_weights, save_weights
from parity.weights.names import natural


def plan(torch: dict[str, Any], jax: dict[str, tuple[int, ...]], **how: Any) -> Plan:
    signatures = {n: s if isinstance(s, Signature) else Signature(s) for n, s in torch.items()}
    return find_plan(signatures, jax, **how)


def ways(found: Plan) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {t.tensor_name: (t.leaf_path, t.axes) for t in found.transfers}


def test_layers_by_kind_also_when_square() -> None:
    found = plan(
        {
            "0.weight": Signature((8, 3, 3, 5), "Conv2d"),
            "0.bias": Signature((8,), "Conv2d"),
            "3.weight": Signature((8, 8), "Linear"),
            "3.bias": Signature((8,), "Linear"),
        },
        {
            "conv/bias": (8,),
            "conv/kernel": (3, 5, 3, 8),
            "dense/bias": (8,),
            "dense/kernel": (8, 8),
        },
    )
    assert ways(found) == {
        "0.weight": ("conv/kernel", (2, 3, 1, 0)),
        "0.bias": ("conv/bias", (0,)),
        "3.weight": ("dense/kernel", (1, 0)),
        "3.bias": ("dense/bias", (0,)),
    }


def test_bare_tensors_by_shape_role_and_reshape() -> None:
    found = plan(
        {"W1": (5, 30), "b1": (5,), "w2": (5,), "b2": (1,)},
        {"hidden/kernel": (30, 5), "hidden/bias": (5,), "output/kernel": (5, 1), "output/bias": (1,)},
    )
    assert {t.tensor_name: t.leaf_path for t in found.transfers} == {
        "W1": "hidden/kernel",
        "b1": "hidden/bias",
        "w2": "output/kernel",
        "b2": "output/bias",
    }


def test_many_equal_layers_keep_their_order_past_ten() -> None:
    torch = {f"{2 * i}.weight": Signature((6, 6), "Linear") for i in range(12)}
    jax = {f"dense_{i}/kernel": (6, 6) for i in range(12)}
    found = plan(torch, dict(sorted(jax.items())))  # JAX sorts dense_10 before dense_2
    assert {t.tensor_name: t.leaf_path for t in found.transfers} == {
        f"{2 * i}.weight": f"dense_{i}/kernel" for i in range(12)
    }
    assert sorted(["l10", "l2", "l1"], key=natural) == ["l1", "l2", "l10"]


@given(st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4), st.booleans())
def test_round_trip_is_the_identity_bit_for_bit(axes: Any, shape: Any, merged: bool) -> None:
    permuted = tuple(shape[a] for a in axes)
    target = (permuted[0] * permuted[1], *permuted[2:]) if merged else permuted
    transfer = Transfer("w", "kernel", tuple(shape), target, axes=tuple(axes))
    bits = np.random.default_rng(0).integers(0, 2**63, shape).view(np.float64)  # NaN payloads and all
    back = transfer.to_tensor(transfer.to_leaf(bits))
    assert np.array_equal(back.view(np.int64), bits.view(np.int64))
    assert transfer.to_leaf(bits).shape == target


@pytest.mark.parametrize(
    ("torch", "jax", "words"),
    [
        ({"w": (3, 2), "x": (7,)}, {"w": (3, 2)}, ["unused PyTorch tensor 'x' (7,)"]),
        ({"w": (3, 2)}, {"w": (3, 2), "y": (4,)}, ["missing JAX leaf 'y' (4,)"]),
        ({"w": (3, 2)}, {"w": (5, 2)}, ["unused PyTorch tensor 'w'", "missing JAX leaf 'w'"]),
        ({"w": (4, 4)}, {"kernel": (4, 4)}, ["is square", "(1, 0)", "pins="]),
    ],
)
def test_what_cannot_be_settled_is_an_error_that_names_it(torch: Any, jax: Any, words: list[str]) -> None:
    with pytest.raises(WeightError) as caught:
        plan(torch, jax)
    assert all(word in str(caught.value) for word in words)


def test_pins_and_allowances_settle_it() -> None:
    found = plan({"w": (4, 4)}, {"kernel": (4, 4)}, pins={"w": ("kernel", (1, 0))})
    assert ways(found) == {"w": ("kernel", (1, 0))}
    found = plan({"w": (3,), "x": (7,)}, {"w": (3,), "y": (4,)}, allow_unused=["x"], allow_missing=["y"])
    assert (found.unused, found.missing) == (("x",), ("y",))
    for pins, words in (({"v": "w"}, "'v'"), ({"w": "v"}, "'v'"), ({"w": ("w", (1,))}, "cannot fit")):
        with pytest.raises(WeightError, match=words):
            plan({"w": (3,)}, {"w": (3,)}, pins=pins)
    with pytest.raises(WeightError, match="twice"):
        plan({"a": (3,), "b": (3,)}, {"w": (3,), "v": (3,)}, pins={"a": "w", "b": "w"})


def test_absent_misshapen_and_unplanned_tensors_are_all_named() -> None:
    found = plan({"w": (3, 2), "b": (2,)}, {"w": (3, 2), "b": (2,)})
    with pytest.raises(WeightError) as caught:
        found.to_leaves({"w": np.zeros((2, 3)), "z": np.zeros(1)})
    assert all(word in str(caught.value) for word in ("'b' is absent", "(2, 3)", "'z' is not in the plan"))
    with pytest.raises(WeightError, match="JAX leaf 'b' is absent"):
        found.to_tensors({"w": np.zeros((3, 2))})


def test_the_table_names_both_sides_and_the_way() -> None:
    text = str(plan({"w": Signature((3, 2), "Linear")}, {"kernel": (2, 3)}))
    assert text == "w (3, 2)  ->  kernel (2, 3)  permute (1, 0)"


def test_files_round_trip_and_are_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {"w": np.random.default_rng(0).standard_normal((3, 2)), "n": np.arange(3)}
    path = tmp_path / "w.safetensors"
    save_weights(weights, path)
    loaded = load_weights(path)
    assert all(np.array_equal(loaded[n], w) and loaded[n].dtype == w.dtype for n, w in weights.items())

    def no_space(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("parity.report.atomic.os.replace", no_space)
    with pytest.raises(OSError, match="no space"):
        save_weights({"w": np.zeros(1)}, path)
    assert list(tmp_path.iterdir()) == [path]
    assert np.array_equal(load_weights(path)["n"], np.arange(3))


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="does not exist; make it"):
        save_weights({}, tmp_path / "no" / "w.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(ValueError, match=r"bad\.safetensors is not a readable"):
        load_weights(tmp_path / "bad.safetensors")


def linears(*names: str, size: int = 8) -> dict[str, Signature]:
    return {f"{name}.weight": Signature((size, size), "Linear") for name in names}


@pytest.mark.parametrize(
    "names",
    [
        ("encoder", "decoder"),
        ("mu", "logvar"),
        ("q_proj", "k_proj", "v_proj", "o_proj"),
        ("query", "key", "value", "out"),
        ("layers.0.self_attn", "layers.0.cross_attn", "layers.1.self_attn", "layers.1.cross_attn"),
    ],
)
def test_the_same_names_on_both_sides_pair_whatever_the_alphabet_says(names: tuple[str, ...]) -> None:
    jax = {f"{name.replace('.', '_', 1).replace('.', '/')}/kernel": (8, 8) for name in sorted(names)}
    for transfer in plan(linears(*names), jax).transfers:
        name = transfer.tensor_name.replace(".", "").replace("_", "").removesuffix("weight")
        assert transfer.leaf_path.replace("/", "").replace("_", "").removesuffix("kernel") == name
        assert transfer.axes == (1, 0)


@pytest.mark.parametrize(
    ("torch", "jax"),
    [
        (linears("q", "k"), {"alpha/kernel": (8, 8), "beta/kernel": (8, 8)}),
        (linears("0", "2"), {"down/kernel": (8, 8), "up/kernel": (8, 8)}),
    ],
)
def test_the_alphabet_is_no_evidence_of_order(torch: Any, jax: Any) -> None:
    with pytest.raises(WeightError, match="either way"):
        plan(torch, jax)


def test_a_bias_follows_the_module_of_its_weight() -> None:
    torch = {}
    for number, layer in ((0, "Linear"), (1, "LayerNorm"), (3, "Linear"), (4, "LayerNorm")):
        torch[f"{number}.weight"] = Signature((8, 8) if layer == "Linear" else (8,), layer)
        torch[f"{number}.bias"] = Signature((8,), layer)
    jax: dict[str, Any] = {}
    for i in range(2):
        jax |= {f"Dense_{i}/bias": (8,), f"Dense_{i}/kernel": (8, 8)}
        jax |= {f"LayerNorm_{i}/bias": (8,), f"LayerNorm_{i}/scale": (8,)}
    found = {t.tensor_name: t.leaf_path for t in plan(torch, dict(sorted(jax.items()))).transfers}
    assert found == {
        "0.weight": "Dense_0/kernel",
        "0.bias": "Dense_0/bias",
        "1.weight": "LayerNorm_0/scale",
        "1.bias": "LayerNorm_0/bias",
        "3.weight": "Dense_1/kernel",
        "3.bias": "Dense_1/bias",
        "4.weight": "LayerNorm_1/scale",
        "4.bias": "LayerNorm_1/bias",
    }


@pytest.mark.parametrize(
    ("signature", "shape", "axes"),
    [
        (Signature((16, 16), "Linear"), (1, 1, 16, 16), (1, 0)),
        (Signature((16, 8, 1, 1), "Conv2d"), (8, 16), (2, 3, 1, 0)),
        (Signature((16, 16), "Embedding"), (16, 16), (0, 1)),
        (Signature((5, 7), "RNN"), (7, 5), (1, 0)),
        (Signature((5, 7), "Linear"), (5, 7), (0, 1)),
    ],
)
def test_layouts_of_other_shapes(signature: Signature, shape: Any, axes: Any) -> None:
    (transfer,) = plan({"l.weight": signature}, {"l/kernel": shape}).transfers
    assert transfer.axes == axes


@pytest.mark.parametrize(("layer", "leaf"), [("RNN", "kernel"), ("", "U"), ("Linear", "weight")])
def test_square_matrices_that_nothing_settles_are_errors(layer: str, leaf: str) -> None:
    with pytest.raises(WeightError, match="is square"):
        plan({"l.weight": Signature((16, 16), layer)}, {f"l/{leaf}": (16, 16)})
