"""The plan as a linear map: packed, stacked, tied and summed blocks, its inverse and its transpose."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.report.sides import Sides
from parity.weights import Plan, Transfer, WeightError, find_plan
from parity.weights.completeness import require_complete
from parity.weights.evidence import Signature

HALF, REST = slice(0, 2), slice(2, 4)

PLANS = {
    "permuted and reshaped": Plan((Transfer("w", "k", (6, 4), (4, 2, 3), axes=(1, 0)),)),
    "backwards": Plan((Transfer("w", "k", (4, 6, 3, 2), (3, 2, 4, 6), axes=(2, 3, 0, 1), flip=(0, 1)),)),
    "a view": Plan((Transfer("w", "k", (4, 3), (6, 2), view=(2, 2, 3), axes=(0, 2, 1)),)),
    "packed": Plan(
        (
            Transfer("qk", "q", (4, 3), (3, 2), take=(HALF,), axes=(1, 0)),
            Transfer("qk", "k", (4, 3), (3, 2), take=(REST,), axes=(1, 0)),
        )
    ),
    "stacked": Plan(
        tuple(Transfer(f"l{i}", "k", (4, 3), (2, 3, 4), axes=(1, 0), put=(i,)) for i in range(2))
    ),
    "tied": Plan(
        (
            Transfer("w", "embedding", (5, 3), (5, 3)),
            Transfer("w", "head", (5, 3), (3, 5), axes=(1, 0)),
        )
    ),
    "summed": Plan((Transfer("b1", "b", (4,), (4,)), Transfer("b2", "b", (4,), (4,)))),
    "summed in part": Plan(
        (
            Transfer("b1", "b", (4,), (4,), take=(HALF,), put=(HALF,)),
            Transfer("b1", "b", (4,), (4,), take=(REST,), put=(REST,)),
            Transfer("b2", "b", (4,), (4,), take=(HALF,), put=(HALF,)),
            Transfer("b2", "n", (4,), (2,), take=(REST,)),
        )
    ),
    "scalars": Plan((Transfer("s", "a", (1,), ()), Transfer("t", "b", (), (1,)))),
}


def tensors(plan: Plan, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {t.tensor_name: rng.standard_normal(t.tensor_shape) for t in plan.transfers}


def leaves(plan: Plan, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {t.leaf_path: rng.standard_normal(t.leaf_shape) for t in plan.transfers}


def bits(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


def product(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return float(sum(np.sum(one[name] * other[name]) for name in one))


@pytest.mark.parametrize("case", PLANS)
def test_adjoint_is_the_transposed_map(case: str) -> None:
    plan = PLANS[case]
    weights, grads = tensors(plan), leaves(plan)
    forwards = product(plan.to_leaves(weights), grads)
    np.testing.assert_allclose(forwards, product(weights, plan.adjoint(grads)), rtol=1e-13)


@pytest.mark.parametrize("case", PLANS)
def test_the_way_back_and_there_changes_no_bit_of_the_leaves(case: str) -> None:
    plan = PLANS[case]
    raw = {path: np.random.default_rng(3).integers(0, 2**62, a.shape) for path, a in leaves(plan).items()}
    given = {path: np.where(a % 5 == 0, -0.0, a.view(np.float64)) for path, a in raw.items()}
    if case == "tied":  # only what the map can make
        given["head"] = np.ascontiguousarray(given["embedding"].T)
    again = plan.to_leaves(plan.to_tensors(given))
    assert bits(again) == bits(given)


@pytest.mark.parametrize("case", [case for case in PLANS if "summed" not in case])
def test_the_way_there_and_back_changes_no_bit_of_the_tensors(case: str) -> None:
    plan = PLANS[case]
    weights = tensors(plan)
    assert bits(plan.to_tensors(plan.to_leaves(weights))) == bits(weights)


@given(st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4), st.data())
def test_any_permutation_and_flip_against_numpy(axes: Any, shape: Any, data: Any) -> None:
    flip = tuple(sorted(data.draw(st.sets(st.integers(0, 3)))))
    permuted = tuple(shape[a] for a in axes)
    target = (permuted[0] * permuted[1], *permuted[2:])
    plan = Plan((Transfer("w", "k", tuple(shape), target, axes=tuple(axes), flip=flip),))
    weight = np.random.default_rng(0).standard_normal(shape)
    expected = np.flip(weight.transpose(axes), flip).reshape(target)
    assert np.array_equal(plan.to_leaves({"w": weight})["k"], expected)
    assert np.array_equal(plan.to_tensors({"k": expected})["w"], weight)
    assert np.array_equal(plan.adjoint({"k": expected})["w"], weight)


def test_sums_by_hand() -> None:
    plan = PLANS["summed in part"]
    ones, tens = np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 40])
    there = plan.to_leaves({"b1": ones, "b2": tens})
    assert there["b"].tolist() == [11, 22, 3, 4]
    assert there["n"].tolist() == [30, 40]
    back = plan.to_tensors(there)
    assert back["b1"].tolist() == [11, 22, 3, 4]
    assert back["b2"].tolist() == [0, 0, 30, 40]
    grads = plan.adjoint({"b": ones, "n": np.array([7.0, 8])})
    assert grads["b1"].tolist() == [1, 2, 3, 4]
    assert grads["b2"].tolist() == [1, 2, 7, 8]


def test_tied_gradients_add_up_and_leaves_may_be_left_out() -> None:
    plan = PLANS["tied"]
    embedding, head = np.ones((5, 3)), np.arange(15.0).reshape(3, 5)
    assert np.array_equal(plan.adjoint({"embedding": embedding, "head": head})["w"], embedding + head.T)
    assert np.array_equal(plan.adjoint({"head": head})["w"], head.T)
    assert plan.adjoint({}) == {}
    with pytest.raises(WeightError, match="'tail' is not in the plan"):
        plan.adjoint({"tail": head})


def test_large_tensors_are_not_copied_for_nothing() -> None:
    plan = Plan(
        (
            Transfer("kept", "kept", (6, 4), (6, 4), axes=(0, 1)),
            Transfer("turned", "turned", (6, 4), (4, 6), axes=(1, 0)),
            Transfer("head", "head", (6,), (2, 3), axes=(0,)),
        )
    )
    weights = tensors(plan)
    assert all(np.shares_memory(leaf, weights[name]) for name, leaf in plan.to_leaves(weights).items())


def test_the_table_says_what_happens_to_each_block() -> None:
    assert str(PLANS["packed"]) == (
        "qk (4, 3)  ->  q (3, 2)  take [0:2], permute (1, 0)\n"
        "qk (4, 3)  ->  k (3, 2)  take [2:4], permute (1, 0)"
    )
    assert PLANS["packed"].names() == {"qk": "q, k"}
    assert [t.how for t in PLANS["stacked"].transfers] == [
        "permute (1, 0), into [0]",
        "permute (1, 0), into [1]",
    ]
    assert PLANS["backwards"].transfers[0].how == "permute (2, 3, 0, 1), flip (0, 1)"
    assert PLANS["a view"].transfers[0].how == "view (2, 2, 3), permute (0, 2, 1), reshape (6, 2)"


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (slice(1, None), [r"unused PyTorch tensor 'b1' \(4,\): 2 of 4 numbers"]),
        (slice(1, 2), [r"unused PyTorch tensor 'b2' \(4,\), whole", r"leaf 'b' \(4,\): 2 of 4 numbers"]),
        (slice(0, 3), [r"unused PyTorch tensor 'b2' \(4,\): 2 of 4", r"missing JAX leaf 'n' \(2,\), whole"]),
    ],
)
def test_blocks_that_are_left_over_are_named(kept: slice, words: list[str]) -> None:
    plan = Plan(PLANS["summed in part"].transfers[kept])
    shapes = {"b1": Signature((4,)), "b2": Signature((4,))}
    for word in words:
        with pytest.raises(WeightError, match=word):
            require_complete(plan, shapes, {"b": Signature((4,)), "n": Signature((2,))})


def test_blocks_that_overlap_in_part_are_named() -> None:
    plan = Plan(
        (
            Transfer("a", "k", (3,), (4,), put=(slice(0, 3),)),
            Transfer("b", "k", (2,), (4,), put=(slice(2, 4),)),
        )
    )
    with pytest.raises(WeightError, match=r"'k' .* is filled twice in part"):
        require_complete(plan, {"a": Signature((3,)), "b": Signature((2,))}, {"k": Signature((4,))})


def test_pins_may_be_transfers() -> None:
    signatures = {"w": Signature((4, 3)), "b": Signature((3,))}
    shapes = {"x": (2, 3), "y": (3, 2), "bias": (3,)}
    parts = [
        Transfer("w", "x", (4, 3), (2, 3), take=(slice(2, 4),)),
        Transfer("w", "y", (4, 3), (3, 2), take=(slice(0, 2),), axes=(1, 0)),
    ]
    plan = find_plan(signatures, shapes, pins={"w": parts})
    assert plan.names() == {"w": "x, y", "b": "bias"}
    weight = np.arange(12.0).reshape(4, 3)
    there = plan.to_leaves({"w": weight, "b": np.zeros(3)})
    assert np.array_equal(there["x"], weight[2:])
    assert np.array_equal(there["y"], weight[:2].T)
    with pytest.raises(WeightError, match=r"unused PyTorch tensor 'w' \(4, 3\): 6 of 12 numbers"):
        find_plan(signatures, shapes, pins={"w": parts[:1]}, allow_missing=["y"])
    for wrong in (
        parts[0]._replace(tensor_shape=(3, 4)),
        parts[0]._replace(tensor_name="b"),
        parts[0]._replace(take=(slice(0, 1),)),
        parts[0]._replace(view=(5, 5)),
    ):
        with pytest.raises(WeightError, match="`pins`"):
            find_plan(signatures, shapes, pins={"w": [wrong, parts[1]]})


def test_pins_of_one_tensor_for_two_leaves() -> None:
    plan = find_plan({"w": Signature((3, 3))}, {"a": (3, 3), "b": (3, 3)}, pins={"w": ["a", ("b", (1, 0))]})
    assert [(t.leaf_path, t.axes) for t in plan.transfers] == [("a", (0, 1)), ("b", (1, 0))]


@pytest.mark.parametrize("case", PLANS)
def test_either_side_may_be_the_reference(case: str) -> None:
    plan = PLANS[case]
    weights, params = tensors(plan), PLANS[case].to_leaves(tensors(plan))
    assert bits(plan.to_candidate(weights)) == bits(params)
    assert bits(plan.to_reference(params)) == bits(plan.to_tensors(params))
    other = plan._replace(reversed=True)
    assert bits(other.to_candidate(params)) == bits(plan.to_tensors(params))
    assert bits(other.to_reference(weights)) == bits(params)
    assert bits(other.to_reference(other.to_candidate(params))) == bits(params)
    assert (str(other), other.rows(), other.names()) == (str(plan), plan.rows(), plan.names())


def test_sums_on_the_way_to_the_candidate_may_be_exact() -> None:
    plan = PLANS["summed"]
    weights = {"b1": np.full(4, 1e8, np.float32), "b2": np.full(4, 1, np.float32)}
    assert plan.to_candidate(weights)["b"].tolist() == [1e8] * 4
    assert plan.to_candidate(weights, exact=True)["b"].tolist() == [1e8 + 1] * 4
    other = plan._replace(reversed=True)
    assert other.to_reference(weights, exact=True)["b"].tolist() == [1e8 + 1] * 4


@pytest.mark.parametrize(
    ("sides", "is_reversed", "tensor", "leaf"),
    [
        (Sides(), False, "PyTorch tensor", "JAX leaf"),
        (Sides("JAX", "PyTorch"), True, "PyTorch tensor", "JAX leaf"),
        (Sides.of("JAX", "JAX"), False, "reference tensor", "candidate leaf"),
        (Sides.of("PyTorch", "PyTorch"), True, "candidate tensor", "reference leaf"),
    ],
)
def test_errors_of_a_plan_name_the_sides(sides: Sides, is_reversed: bool, tensor: str, leaf: str) -> None:
    plan = PLANS["stacked"]._replace(sides=sides, reversed=is_reversed)
    with pytest.raises(WeightError, match=f"{tensor} 'l0' is absent"):
        plan.to_leaves({"l1": np.zeros((4, 3))})
    with pytest.raises(WeightError, match=f"{leaf} 'k' has shape \\(2,\\)"):
        plan.to_tensors({"k": np.zeros(2)})
    with pytest.raises(WeightError, match=f"gradient of the {leaf} 'z' is not in the plan"):
        plan.adjoint({"z": np.zeros(2)})
