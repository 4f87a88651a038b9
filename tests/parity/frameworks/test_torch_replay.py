"""Every evaluation of a PyTorch trace gives what was recorded, and a replay what PyTorch itself computes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from parity.frameworks.task import Task
from parity.frameworks.torch import lax_numpy
from parity.frameworks.torch.torch_model import read_torch
from parity.frameworks.torch.torch_program import TorchProgram
from parity.trace import numpy_ops
from parity.trace.graph import NodeKind, Trace
from tests.parity.frameworks.replayed import CASES, Call

LAX = frozenset(
    {
        *numpy_ops.OPERATIONS,
        *lax_numpy.OPERATIONS,
        "sort",
        "top_k",
        "dynamic_update_slice",
        "select_and_scatter_add",
    }
)
"""Operations that are not asked of PyTorch."""

Arrays = Mapping[str, np.ndarray]


def outputs_of(out: Any) -> dict[str, torch.Tensor]:
    leaves = out if isinstance(out, tuple | list) else [out]
    return {str(i): leaf for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)}


def program(module: nn.Module, backward: bool) -> tuple[TorchProgram, Arrays]:
    model = read_torch(module)
    task = Task(("x",), outputs=outputs_of)
    return TorchProgram(model, task, trainable=model.trainable if backward else ()), model.weights


def recorded(module: nn.Module, x: np.ndarray, backward: bool = True) -> Trace:
    made, weights = program(module, backward)
    return made.trace(weights, {"x": x}, replayable=True)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def close(value: Any, wanted: Any, tolerance: float = 1e-12) -> bool:
    value, wanted = np.asarray(value), np.asarray(wanted)
    if value.shape != wanted.shape or value.dtype != wanted.dtype:
        return False
    if value.dtype.kind != "f":
        return np.array_equal(value, wanted)
    scale = np.max(np.abs(wanted), where=np.isfinite(wanted), initial=0.0)
    return np.allclose(value, wanted, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def assert_evaluations_hold(trace: Trace) -> None:
    made = set()
    for number, evaluation in enumerate(trace.evaluations):
        found = evaluation.function([trace.nodes[i].value for i in evaluation.inputs])
        assert len(found) == len(evaluation.outputs)
        for index, value in zip(evaluation.outputs, found, strict=True):
            node = trace.nodes[index]
            assert close(value, node.value), (evaluation.operation, node.spot)
            assert node.step == number
            assert node.inputs == evaluation.inputs
            assert all(i < index for i in evaluation.inputs)
        made.update(evaluation.outputs)
    operations = {i for i, node in enumerate(trace.nodes) if node.kind is NodeKind.OPERATION}
    assert operations == made
    assert all(type(node.value) is np.ndarray for node in trace.nodes)


def assert_replays(module: nn.Module, x: np.ndarray, other: np.ndarray) -> Trace:
    """With another input the replay gives what PyTorch computes for it: outputs and gradients."""
    differentiable = x.dtype.kind == "f" or any(p.requires_grad for p in module.parameters())
    made, weights = program(module, differentiable)
    trace = made.trace(weights, {"x": x}, replayable=True)
    assert_evaluations_hold(trace)
    wanted = made(weights, {"x": other}, "float64")
    new = trace.replay({trace.inputs["x"]: other})
    for group in trace.outputs:
        for name, index in trace.outputs[group].items():
            value = np.asarray(new.get(index, trace.nodes[index].value))
            assert close(value, wanted[group][name], 1e-9), (group, name)
    return trace


ASKED: dict[str, set[str]] = {
    "products": {"_trilinear"},
    "pooled": {
        "_adaptive_avg_pool2d_backward",
        "avg_pool2d_backward",
        "max_pool2d_indices",
        "reflection_pad2d_backward",
        "replication_pad2d_backward",
        "upsample_bilinear2d_backward",
        "upsample_nearest2d_backward",
    },
    "weight norm": {"_weight_norm_interface_backward"},
}
"""What is left to PyTorch itself in these modules."""


def moved(module: nn.Module) -> nn.Module:
    """The module with every weight moved: ones and zeros hide faults."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return module


@pytest.mark.parametrize("name", CASES)
def test_a_replay_with_another_input_is_what_pytorch_computes(name: str) -> None:
    torch.manual_seed(0)
    make, shape = CASES[name]
    trace = assert_replays(moved(make()), normal(*shape), normal(*shape, seed=1))
    left = {e.operation for e in trace.evaluations} - LAX
    assert left == ASKED.get(name, set())


class Tokens(nn.Module):
    def __init__(self, bag: bool = False) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(7, 4) if bag else nn.Embedding(7, 4, padding_idx=0)
        self.out = nn.Linear(4, 7)
        self.out.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.out(self.table(x))
        return hidden + hidden[..., :1] * (x != 0).sum()


@pytest.mark.parametrize("bag", [False, True])
def test_tokens_are_replayed(bag: bool) -> None:
    x, other = np.array([[1, 0, 3], [6, 6, 2]]), np.array([[2, 2, 0], [1, 5, 4]])
    trace = assert_replays(Tokens(bag), x, other)
    left = {e.operation for e in trace.evaluations} - LAX
    assert bool(left) == bag
    assert bag or {"gather", "scatter-add"} <= {e.operation for e in trace.evaluations}


def constants(trace: Trace, value: float) -> list[int]:
    """Numbers among the nodes that some evaluation reads."""
    read = {i for e in trace.evaluations for i in e.inputs}
    found = [i for i, n in enumerate(trace.nodes) if n.kind is NodeKind.CONSTANT and n.fixed and i in read]
    return [i for i in found if trace.nodes[i].value.size == 1 and trace.nodes[i].value.item() == value]


@pytest.mark.parametrize(
    ("module", "changed", "was", "becomes"),
    [
        (nn.LayerNorm(6, eps=1e-3), nn.LayerNorm(6, eps=1e-2), 1e-3, 1e-2),
        (nn.GroupNorm(2, 6, eps=1e-3), nn.GroupNorm(2, 6, eps=1e-2), 1e-3, 1e-2),
        (nn.BatchNorm1d(6, eps=1e-3), nn.BatchNorm1d(6, eps=1e-2), 1e-3, 1e-2),
        (nn.RMSNorm(6, eps=1e-3), nn.RMSNorm(6, eps=1e-2), 1e-3, 1e-2),
        (nn.LeakyReLU(0.01), nn.LeakyReLU(0.2), 0.01, 0.2),
        (nn.Softplus(beta=1.5), nn.Softplus(beta=2.5), 1.5, 2.5),
        (nn.Threshold(0.1, 7.0), nn.Threshold(0.1, 9.0), 7.0, 9.0),
        (nn.Hardtanh(-1.25, 1.0), nn.Hardtanh(-0.5, 1.0), -1.25, -0.5),
        (Call(lambda x: x.mean(1)), Call(lambda x: x.sum(1) / 5), 6.0, 5.0),
        (Call(lambda x: x.std(1)), Call(lambda x: x.std(1, correction=2)), 5.0, 4.0),
        (Call(lambda x: torch.add(x, x, alpha=3)), Call(lambda x: torch.add(x, x, alpha=4)), 3.0, 4.0),
        (nn.AvgPool1d(2), Call(lambda x: F.avg_pool1d(x, 2) * 2 / 3), 2.0, 3.0),
    ],
)
def test_a_number_is_a_node_that_can_be_exchanged(
    module: nn.Module, changed: nn.Module, was: float, becomes: float
) -> None:
    x = normal(4, 6)
    trace = recorded(module, x, backward=False)
    new = trace.replay({i: np.float64(becomes) for i in constants(trace, was)})
    made, _ = program(changed, False)
    weights = {**program(changed, False)[1], **program(module, False)[1]}
    wanted = made(weights, {"x": x}, "float64")["outputs"]["0"]
    out = trace.outputs["outputs"]["0"]
    assert not close(trace.nodes[out].value, wanted)
    assert close(new[out], wanted)


def test_an_operation_without_a_rule_is_asked_of_pytorch() -> None:
    def function(x: torch.Tensor) -> list[torch.Tensor]:
        y = torch.linalg.svdvals(x) + torch.fft.rfft(x).abs().sum()
        values, where = x.kthvalue(2, 1)
        z = x * 1
        z.scatter_reduce_(0, torch.tensor([[0], [1], [1]]), x[:3], "amax")
        return [y, values, where, z, torch.cdist(x, x + 1), x.median(), torch.linalg.solve(x[:, :4], x)]

    trace = assert_replays(Call(function), normal(4, 6), normal(4, 6, seed=1))
    left = {e.operation for e in trace.evaluations} - LAX
    assert {"kthvalue", "scatter_reduce_", "_cdist_forward", "median"} <= left


def test_what_was_drawn_stays_in_a_replay() -> None:
    def function(x: torch.Tensor) -> list[torch.Tensor]:
        noise = torch.rand_like(x)
        return [F.dropout(x, 0.25), x + noise, x.new_empty(4).normal_() * x[:, 0]]

    torch.manual_seed(0)
    x = normal(4, 6)
    trace = recorded(Call(function), x)
    assert_evaluations_hold(trace)
    new = trace.replay({trace.inputs["x"]: 2 * x})
    dropped, noisy, scaled = (trace.outputs["outputs"][name] for name in "012")
    assert close(new[dropped], 2 * trace.nodes[dropped].value)
    assert close(new[noisy], trace.nodes[noisy].value + x)
    assert close(new[scaled], 2 * trace.nodes[scaled].value)
    assert (new[dropped] == 0).any()


def test_a_replay_from_the_middle_changes_what_follows_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    trace = recorded(module, normal(4, 6))
    (middle,) = (i for i, n in enumerate(trace.nodes) if n.operation == "tanh")
    hidden = normal(4, 5, seed=1)
    new = trace.replay({middle: hidden})
    wanted = hidden @ module[2].weight.detach().numpy().T + module[2].bias.detach().numpy()
    assert close(new[trace.outputs["outputs"]["0"]], wanted, 1e-6)  # the weights of the trace are float64
    assert min(new) == middle


def test_places_and_weights_are_those_of_the_module() -> None:
    torch.manual_seed(0)
    trace = recorded(nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)), normal(4, 6))
    assert {n.spot.module for n in trace.nodes if n.kind is NodeKind.OPERATION and not n.backward} >= {
        "0",
        "1",
    }
    (turned,) = (n for n in trace.nodes if n.operation == "transpose" and not n.backward)
    assert turned.fixed
    assert turned.inputs == (trace.weights["0.weight"],)
    assert any(n.backward for n in trace.nodes)


def test_two_runs_have_the_same_nodes() -> None:
    for name, (make, shape) in CASES.items():
        torch.manual_seed(0)
        module = moved(make())
        one, other = (recorded(module, normal(*shape) * (1 + 1e-15 * k)) for k in range(2))
        assert [n.operation for n in one.nodes] == [n.operation for n in other.nodes], name


def test_a_trace_is_what_it_was_where_it_is_not_to_be_replayed() -> None:
    made, weights = program(nn.Linear(6, 5), True)
    trace = made.trace(weights, {"x": normal(4, 6)})
    assert not trace.evaluations
    assert {"t", "mm"} <= {n.operation for n in trace.nodes}
