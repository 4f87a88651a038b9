"""Modules for replays of PyTorch programs: all kinds of layers, writing in place, indices, reductions."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Call(nn.Module):
    """A function of the scaled input as a module; the scale is a weight, so that there are gradients."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.scale = nn.Parameter(torch.ones(()))
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x * self.scale, *self.parts)


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
