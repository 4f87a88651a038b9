"""Every evaluation of a PyTorch trace gives what was recorded, and a replay what PyTorch itself computes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from parity.frameworks.jax import numpy_ops
from parity.frameworks.task import Task
from parity.frameworks.torch import lax_numpy
from parity.frameworks.torch.torch_model import read_torch
from parity.frameworks.torch.torch_program import TorchProgram
from parity.trace.graph import Kind, Trace

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


class Call(nn.Module):
    """A function of the scaled input as a module; the scale is a weight, so that there are gradients."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.scale = nn.Parameter(torch.ones(()))
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x * self.scale, *self.parts)


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
    operations = {i for i, node in enumerate(trace.nodes) if node.kind is Kind.OPERATION}
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


def in_place(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    y[:, 0] = x[:, 1] + 1
    y[:, 1:3] += 1
    y[1].mul_(3)
    view = y.t()
    view.clamp_(-2.5, 2.5)
    y.masked_fill_(x > 1, -7.0)
    y[:, -1].copy_(view[0])
    y[2].zero_()
    view[1].fill_(x[0, 0])
    F.relu(y[1:], inplace=True)
    return y.cumsum(1) + view.t()


def time_loop(x: torch.Tensor, cell: nn.Module, out: nn.Module) -> torch.Tensor:
    h = torch.zeros(x.shape[0], 5)
    steps = torch.empty(x.shape[0], x.shape[1], 5)
    for t in range(x.shape[1]):
        h = torch.tanh(cell(x[:, t]) + h)
        steps[:, t] = h
    return out(steps)


def written_by_index(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(4, 6, dtype=x.dtype)
    rows, columns = torch.tensor([0, 2, 2]), torch.tensor([1, 3, 5])
    y[rows, columns] = x[0, :3]
    y.index_put_((rows, columns), x[1, :3], accumulate=True)
    y[torch.tensor([3, 3])] = x[:2]
    y.index_add_(0, torch.tensor([1, 1]), x[:2])
    return y.scatter_add(1, torch.tensor([[0, 0, 1], [2, 2, 2]]), x[:2, :3])


def masked(x: torch.Tensor) -> torch.Tensor:
    keep = torch.tensor([True, False, True, True])
    y = x[keep] * 2
    y[y > 100] = 0.0
    return torch.where(x > 0, x, x.exp()).sum(0) + y.mean(0)


def cut(x: torch.Tensor) -> list[torch.Tensor]:
    a, b = x.chunk(2, -1)
    c, d, e = x.split([1, 2, 3], -1)
    rows = torch.stack([a, b, b * 2], 1).unbind(0)
    return [torch.cat([a, c, e], -1), rows[1] * d[0, 0], torch.stack([a, b]).flatten(1)]


def arranged(x: torch.Tensor) -> list[torch.Tensor]:
    y = F.pad(x, (1, 2, 0, 1), value=0.5).roll((1, -2), (0, 1)).flip(1)
    z = x.repeat(2, 1).T.reshape(3, -1).expand(2, 3, -1).unsqueeze(1).squeeze()
    return [y, z, torch.tril(x, 1) + torch.triu(x, -1), x.roll(2), x.unfold(1, 3, 2), x.diagonal()]


def ranked(x: torch.Tensor) -> list[torch.Tensor]:
    values, order = x.sort(-1, descending=True)
    top, where = x.topk(2, 0)
    return [
        values,
        order,
        top,
        where,
        x.max(1).values,
        x.argmin(0),
        x.amax(),
        torch.gather(x, 1, order),
        x.sort(0)[1],
    ]


def summed(x: torch.Tensor) -> list[torch.Tensor]:
    return [
        x.mean(),
        x.mean(1, keepdim=True),
        x.var(0),
        x.std(unbiased=False),
        torch.var_mean(x, 1, correction=0)[1],
        x.sum((0, 1)),
        x.norm(dim=1),
        torch.linalg.vector_norm(x, 1, 0),
        x.norm(p=3),
        x.prod(1),
        x.logsumexp(1),
        (x > 0).any(0),
        (x > 0).all(),
        (x > 0).sum(1),
        x.cumsum(0),
        x.cumprod(1),
        F.normalize(x),
    ]


def elementwise(x: torch.Tensor) -> list[torch.Tensor]:
    y = x.abs() + 0.5
    n = (y * 3).long()
    return [
        torch.sub(x, y, alpha=2),
        2 - x,
        torch.rsub(x, y, alpha=3),
        1 / y,
        y**0.5 + y**-0.5 + y**3 + y**1.7 + 2**x + y**x,
        n // 2 + n % 3,
        n / 2,
        torch.div(x, y, rounding_mode="floor"),
        x.clamp(-1, 1) + x.clamp(min=0.1) + x.clamp(max=y),
        y.log2() + y.log10() + y.log1p() + y.rsqrt() + y.reciprocal(),
        torch.atan2(x, y) + x.sin() * x.cos() + x.erf() + x.sign() + x.floor(),
        torch.maximum(x, y) + torch.minimum(x, y) + torch.fmod(x, 0.3) + torch.remainder(x, 0.3),
        ((x > 0) & ~(y < 1) | (x == y)) ^ x.isnan(),
        torch.logical_or(x, n),
        x.lerp(y, 0.3) + torch.addcmul(x, y, y, value=0.1) + torch.addcdiv(x, y, y),
        x.double() + n + torch.arange(1, 7, 1) + torch.linspace(0, 1, 6),
        F.one_hot(n % 3, 3) * torch.eye(6, 3, dtype=torch.long),
        torch.full_like(x, 3.0) + torch.ones(6) + torch.tensor([1.0, 2, 3, 4, 5, 6]) + x.new_zeros(6),
        x.masked_fill(x > 0, 2.0) + torch.where(x > 0, 1.0, x),
        x.nan_to_num() + torch.logaddexp(x, y),
    ]


def activations(x: torch.Tensor) -> list[torch.Tensor]:
    names = (
        "gelu silu elu softplus hardswish hardsigmoid mish selu celu leaky_relu relu6 logsigmoid tanhshrink "
    )
    names += "softsign hardshrink softshrink hardtanh sigmoid tanh relu"
    found = [getattr(F, name)(x) for name in names.split()]
    return [
        *found,
        F.gelu(x, approximate="tanh"),
        F.glu(x),
        F.threshold(x, 0.1, -3.0),
        F.elu(x * 1, inplace=True),
    ]


def losses(x: torch.Tensor) -> list[torch.Tensor]:
    labels = torch.tensor([0, 2, 5, 1])
    other = x.flip(0).detach()
    return [
        F.cross_entropy(x, labels),
        F.cross_entropy(x, labels, label_smoothing=0.1, reduction="none"),
        F.nll_loss(F.log_softmax(x, -1), labels, ignore_index=2),
        F.mse_loss(x, other),
        F.l1_loss(x, other),
        F.smooth_l1_loss(x, other),
        F.huber_loss(x, other, delta=0.7),
        F.binary_cross_entropy_with_logits(x, other.sigmoid()),
        F.binary_cross_entropy(x.sigmoid(), other.sigmoid()),
        F.kl_div(F.log_softmax(x, -1), F.softmax(other, -1), reduction="batchmean"),
        F.cosine_similarity(x, other),
    ]


def products(x: torch.Tensor) -> list[torch.Tensor]:
    y = x.view(2, 2, 6)
    return [
        torch.einsum("bij,bkj->bik", y, y),
        torch.einsum("ij,kj,kl->il", x, x, x),
        x @ x.T,
        y @ x[:, :6].T[None],
        torch.addmm(x[:, :4], x, x.T, beta=0.5, alpha=2),
        torch.baddbmm(y[:, :, :2], y, y.mT),
        x @ x[0],
        x[0] @ x[0],
        torch.outer(x[0], x[1]),
        torch.bilinear(x, x, torch.ones(2, 6, 6), None),
    ]


def pooled(x: torch.Tensor) -> list[torch.Tensor]:
    return [
        F.max_pool2d(x, 2),
        F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        F.max_pool2d(x, 2, 1, dilation=2),
        F.avg_pool2d(x, 2),
        F.avg_pool2d(x, 3, 2, 1),
        F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
        F.adaptive_avg_pool2d(x, 1),
        F.adaptive_avg_pool2d(x, (3, 2)),
        F.adaptive_avg_pool2d(x, (4, 5)),
        F.max_pool1d(x[0], 2),
        F.avg_pool1d(x[0], 2),
        F.interpolate(x, scale_factor=2),
        F.interpolate(x, size=(5, 7), mode="bilinear"),
        F.pad(x, (1, 1, 2, 2), mode="reflect"),
        F.pad(x, (1, 1, 2, 2), mode="replicate"),
        F.pad(x, (1, 1, 2, 2), mode="circular"),
        F.pixel_shuffle(x[:, :4], 2),
        F.unfold(x, 2),
    ]


def convolved(x: torch.Tensor, *layers: nn.Module) -> list[torch.Tensor]:
    return [layer(x) for layer in layers]


def first(x: torch.Tensor, layer: nn.Module) -> Any:
    return layer(x)[0]


def attended(x: torch.Tensor, layer: nn.Module) -> Any:
    mask = torch.triu(torch.full((x.shape[1], x.shape[1]), float("-inf")), 1)
    return layer(x, x, x, attn_mask=mask, is_causal=False)


IMAGE = (2, 4, 6, 6)

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 2)), (4, 6)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, 2, 1), (2, 3, 9)),
    "conv2d": (
        lambda: Call(
            convolved,
            nn.Conv2d(4, 6, 3),
            nn.Conv2d(4, 6, 3, 2, 1, bias=False),
            nn.Conv2d(4, 6, 2, 3, (1, 0)),
            nn.Conv2d(4, 6, 3, padding=2, dilation=2),
            nn.Conv2d(4, 6, (3, 2), padding="same", padding_mode="circular"),
        ),
        IMAGE,
    ),
    "grouped convolution": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), IMAGE),
    "transposed convolution": (
        lambda: Call(
            convolved,
            nn.ConvTranspose2d(4, 6, 3),
            nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1),
            nn.ConvTranspose2d(4, 6, 3, 2, groups=2, dilation=2),
        ),
        IMAGE,
    ),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, padding=1), (1, 2, 3, 4, 4)),
    "batch norm": (lambda: nn.BatchNorm2d(4), IMAGE),
    "batch norm eval": (lambda: nn.BatchNorm1d(6).eval(), (4, 6)),
    "batch norm without statistics": (lambda: nn.BatchNorm2d(4, track_running_stats=False), IMAGE),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "layer norm": (lambda: nn.LayerNorm((6, 6)), IMAGE),
    "group norm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "rms norm": (lambda: nn.RMSNorm(6), (4, 6)),
    "attention": (lambda: Call(attended, nn.MultiheadAttention(6, 2, batch_first=True)), (2, 5, 6)),
    "fused attention": (
        lambda: Call(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)),
        (2, 3, 4, 6),
    ),
    "lstm": (lambda: Call(first, nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)), (2, 4, 6)),
    "gru": (lambda: Call(first, nn.GRU(6, 5, batch_first=True)), (2, 4, 6)),
    "rnn": (lambda: Call(first, nn.RNN(6, 5)), (4, 2, 6)),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True, activation="gelu"),
        (2, 5, 6),
    ),
    "encoder layer eval": (
        lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=True).eval(),
        (2, 5, 6),
    ),
    "prelu": (lambda: nn.PReLU(4), IMAGE),
    "time loop": (lambda: Call(time_loop, nn.Linear(6, 5), nn.Linear(5, 2)), (2, 4, 6)),
    "in place": (lambda: Call(in_place), (4, 6)),
    "written by index": (lambda: Call(written_by_index), (4, 6)),
    "masked": (lambda: Call(masked), (4, 6)),
    "cut": (lambda: Call(cut), (4, 6)),
    "arranged": (lambda: Call(arranged), (4, 6)),
    "ranked": (lambda: Call(ranked), (4, 6)),
    "summed": (lambda: Call(summed), (4, 6)),
    "elementwise": (lambda: Call(elementwise), (4, 6)),
    "activations": (lambda: Call(activations), (4, 6)),
    "losses": (lambda: Call(losses), (4, 6)),
    "products": (lambda: Call(products), (4, 6)),
    "pooled": (lambda: Call(pooled), IMAGE),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), (4, 6)),
}

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
    found = [i for i, n in enumerate(trace.nodes) if n.kind is Kind.CONSTANT and n.fixed and i in read]
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
    assert {n.spot.module for n in trace.nodes if n.kind is Kind.OPERATION and not n.backward} >= {"0", "1"}
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
