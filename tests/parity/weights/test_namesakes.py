"""Weights with the same path on both sides are paired by it, whatever is used first."""

import pytest

from parity.weights import Signature, Use, find_plan
from parity.weights.doubt import is_doubtful
from parity.weights.namesakes import Named, namesakes, spelled


def used(names: list[str], shape: tuple[int, ...], layer: str, operation: str) -> dict[str, Signature]:
    """Arrays of one shape, used in this order, listed by name as JAX does."""
    over = {"matmul": (len(shape) - 1,) if layer else (0,), "conv": ()}.get(operation, ())
    found = {n: Signature(shape, layer, Use(place, operation, over)) for place, n in enumerate(names)}
    return {name: found[name] for name in sorted(found)}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("norm1.weight", "params/norm1/scale"),
        ("layers.0.weight", "layers/0/kernel"),
        ("layers.0.weight", "params/layers_0/kernel"),
        ("mlp.fc.bias", "mlp/~/fc/b"),
        ("bn.running_var", "batch_stats/bn/var"),
        ("q_proj.weight", "q_proj/w"),
        ("W", "W"),
    ],
)
def test_one_path_as_frameworks_spell_it(name: str, path: str) -> None:
    assert spelled(name) == spelled(path)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("conv1.weight", "Conv_0/kernel"),
        ("conv1.weight", "conv2/kernel"),
        ("norm.weight", "norm/bias"),
        ("0.weight", "layers/0/kernel"),
        ("W", "w"),
    ],
)
def test_another_path(name: str, path: str) -> None:
    assert spelled(name) != spelled(path)


def test_one_name_that_is_not_there_leaves_all_that_could_be_meant_to_other_evidence() -> None:
    tensors = [Named(f"layers.{n}.weight", (6, 6)) for n in (0, 1, 2)]
    assert namesakes(tensors, [Named(f"layers/{n}/kernel", (6, 6)) for n in (1, 2, 3)]) == {}
    assert len(namesakes(tensors, [Named(f"layers/{n}/kernel", (6, 6)) for n in (2, 1, 0)])) == 3
    stacked = [Named(f"layers/{n}/kernel", (6, 6), is_whole=False) for n in (2, 1, 0)]
    assert namesakes(tensors, stacked) == {}


@pytest.mark.parametrize(
    ("names", "last", "shape", "layer", "operation"),
    [
        (["norm1", "norm2"], "scale", (6,), "LayerNorm", "mul"),
        (["conv1", "conv2"], "kernel", (4, 4, 3, 3), "Conv2d", "conv"),
        (["w1", "w3"], "kernel", (6, 6), "Linear", "matmul"),
        ([f"layers.{n}" for n in range(12)], "kernel", (6, 6), "Linear", "matmul"),
    ],
)
def test_the_order_of_use_says_nothing_against_names(
    names: list[str], last: str, shape: tuple[int, ...], layer: str, operation: str
) -> None:
    tensors = used([f"{name}.weight" for name in names], shape, layer, operation)
    paths = [f"{name.replace('.', '/')}/{last}" for name in reversed(names)]
    leaves = used(paths, (*shape[2:], *shape[1::-1]), "", operation)
    plan = find_plan(tensors, leaves, try_plan=lambda plan: 0.5)
    assert plan.names() == {f"{n}.weight": f"{n.replace('.', '/')}/{last}" for n in names}


def test_the_order_of_use_decides_between_names_of_which_one_is_another() -> None:
    tensors = used(["conv1.weight", "conv2.weight", "conv3.weight"], (5, 5), "Linear", "matmul")
    leaves = used(["conv2/kernel", "conv3/kernel", "last/kernel"], (5, 5), "", "matmul")
    plan = find_plan(tensors, leaves, try_plan=lambda plan: 0.5)
    assert list(plan.names().values()) == ["conv2/kernel", "conv3/kernel", "last/kernel"]


def bare(name: str, summed: tuple[int, ...], shape: tuple[int, ...] = (5, 5)) -> dict[str, Signature]:
    return {name: Signature(shape, "", Use(0, "matmul", summed))}


def turned(plan: object) -> float:
    return 1.0 if "permute" in str(plan) else 0.5


@pytest.mark.parametrize(
    ("name", "path", "sums", "how"),
    [
        ("W", "W", ((0,), (1,)), "as it is"),
        ("W", "W", ((0,), ()), "as it is"),
        ("W", "W", ((), ()), "as it is"),
        ("W", "W", ((1,), (0,)), "permute (1, 0)"),  # as linear layers of the two frameworks have it
        ("W", "M", ((0,), ()), "permute (1, 0)"),  # another name: settled by running
        ("weight", "weight", ((0,), ()), "permute (1, 0)"),  # named as layers have it
    ],
)
def test_a_bare_square_matrix_lies_as_its_namesake(
    name: str, path: str, sums: tuple[tuple[int, ...], tuple[int, ...]], how: str
) -> None:
    plan = find_plan(bare(name, sums[0]), bare(path, sums[1]), try_plan=turned)
    assert [transfer.how for transfer in plan.transfers] == [how]
    assert is_doubtful(plan.transfers[0].reason) == ("permute" in how and sums[0] != (1,))


def test_a_bare_square_matrix_beside_one_that_its_shape_turns_is_settled_by_running() -> None:
    tensors = bare("W_hh", ()) | bare("W_ih", (), (5, 3))
    leaves = bare("W_hh", ()) | bare("W_ih", (), (3, 5))
    plan = find_plan(tensors, leaves, try_plan=lambda plan: 0.5 + 0.5 * (plan.transfers[0].axes == (1, 0)))
    assert plan.transfers[0].axes == (1, 0)
