"""Weights that are read at each use, whole or a row, have the numbers that reading all at once gives."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from parity.numerics.noise import noisy
from parity.numerics.unread import UnreadArrays, each, overlaid, shapes_only
from parity.weights import Plan, Signature, Transfer, find_plan
from parity.weights.sharded_files import ShardWriter
from parity.weights.stored_tensors import files_of, stored_tensors
from parity.weights.unread_plans import candidate_weights


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (3, 4), "1.weight": (3, 4), "packed": (6, 5), "bias": (3,), "other": (3,)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def stored(where: Path) -> UnreadArrays:
    save_file(arrays(), where / "w.safetensors")
    return stored_tensors(files_of(where))


STACKED = Plan(
    (
        *(
            Transfer(f"{i}.weight", "stack", (3, 4), (2, 4, 3), axes=(1, 0), put=(i,), reason="a layer")
            for i in range(2)
        ),
        Transfer("packed", "first", (6, 5), (3, 5), take=(slice(0, 3),)),
        Transfer("packed", "second", (6, 5), (3, 5), take=(slice(3, 6),)),
        Transfer("bias", "sum", (3,), (3,)),
        Transfer("other", "sum", (3,), (3,)),
    )
)


def test_through_a_plan_they_are_what_all_at_once_gives(tmp_path: Path) -> None:
    weights = stored(tmp_path)
    whole, unread = STACKED.to_candidate(arrays(), exact=True), candidate_weights(STACKED, weights)
    assert isinstance(unread, UnreadArrays)
    assert {*whole} == {*unread}
    for name, array in whole.items():
        np.testing.assert_array_equal(unread[name], array)
        assert unread.unread[name].shape == array.shape
        for index in range(len(array)):
            np.testing.assert_array_equal(unread.unread[name].row(index), array[index])


def test_backwards_through_a_plan_the_first_of_a_sum_gets_all_of_it() -> None:
    leaves = STACKED.to_candidate(arrays(), exact=True)
    back = STACKED._replace(reversed=True)
    unread = candidate_weights(back, overlaid(UnreadArrays({}), leaves))
    for name, array in back.to_candidate(leaves).items():
        np.testing.assert_array_equal(unread[name], array)


def test_one_layer_of_a_stack_is_made_of_its_own_tensor(tmp_path: Path) -> None:
    asked: list[str] = []

    def noted(name: str, array: np.ndarray) -> np.ndarray:
        asked.append(name)
        return array

    candidate_weights(STACKED, stored(tmp_path).each(noted)).unread["stack"].row(1)
    assert asked == ["1.weight"]


def test_plans_put_layers_one_by_one() -> None:
    """What lets a row be read alone: the plan that is found says where each layer goes by a number."""
    tensors = {f"layers.{i}.fc.weight": Signature((3, 4), "Linear") for i in range(2)}
    plan = find_plan(tensors, {"layers/fc/kernel": (2, 4, 3)})
    assert [transfer.put for transfer in plan.transfers] == [(0,), (1,)]


def test_noise_moves_what_is_read_as_it_moves_all_at_once(tmp_path: Path) -> None:
    unread = noisy(stored(tmp_path), 1, "bfloat16", inputs=False)
    for name, array in noisy(arrays(), 1, "bfloat16", inputs=False).items():
        np.testing.assert_array_equal(unread[name], array)
        assert isinstance(unread, UnreadArrays)
        np.testing.assert_array_equal(unread.unread[name].row(0), array[0])


def test_noise_does_not_depend_on_how_a_weight_lies_in_memory() -> None:
    array = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    for axes in ((3, 2, 0, 1), (2, 3, 1, 0), (1, 0, 3, 2)):
        turned = array.transpose(axes)
        moved = (noisy({"a": one}, 0, "float32", inputs=False)["a"] for one in (turned, turned.copy()))
        np.testing.assert_array_equal(*moved)


def test_shapes_and_names_are_known_and_numbers_are_read_when_asked_for(tmp_path: Path) -> None:
    weights = stored(tmp_path)
    shapes = shapes_only(each(weights, lambda name, array: array))
    assert {name: array.shape for name, array in shapes.items()} == {n: a.shape for n, a in arrays().items()}
    (tmp_path / "w.safetensors").unlink()
    assert "packed" in weights
    with pytest.raises(ValueError, match=r"w.safetensors can no longer be read"):
        weights["packed"]


def test_what_is_written_in_shards_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.weights.sharded_files.SHARD", 60)
    writer = ShardWriter(tmp_path, "values")
    put = {name: writer.put(name, array) for name, array in arrays().items()}
    assert put["other"].read().sum() == arrays()["other"].sum()  # which waits to be written
    writer.flush()
    assert len(writer.files) > 2
    again = stored_tensors(writer.files)
    for name, array in arrays().items():
        for read in (put[name].read(), again[name]):
            np.testing.assert_array_equal(read, array)


def test_bfloat16_is_read_as_it_is(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_tensors

    save_tensors({"a": torch.arange(6).reshape(2, 3).bfloat16()}, tmp_path / "h.safetensors")
    tensor = stored_tensors([tmp_path / "h.safetensors"]).unread["a"]
    assert str(tensor.dtype) == "bfloat16"
    assert tensor.row(1).astype(np.float32).tolist() == [3.0, 4.0, 5.0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no \*.safetensors"):
        files_of(tmp_path)
    stored(tmp_path)
    file = tmp_path / "w.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match="ends before its tensors do"):
        [array for _, array in stored_tensors([file]).items()]
