"""PyTorch against PyTorch: layers taken apart, fused, compiled, or written as functions."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import torch
from torch import Tensor, nn

from parity.report.kinds import CauseKind, Stage
from tests.kit.inputs import normal
from tests.kit.weights import randomise
from tests.sides.declare import Arguments, pair

F = nn.functional


class FusedAttention(nn.Module):
    """PyTorch's own attention, causal."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


class SplitAttention(nn.Module):
    """The same by hand: a linear layer each for queries, keys and values."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.wrong = wrong

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (2, 4)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
        scores = q @ k.transpose(-2, -1)
        if self.wrong == "scale":
            scores = scores / 8**0.5  # FAULT: torch-torch/attention-scale
        else:
            scores = scores / 4**0.5
        ones = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
        if self.wrong == "mask":
            scores = scores.masked_fill(torch.triu(ones, 2), -torch.inf)  # FAULT: torch-torch/attention-mask
        else:
            scores = scores.masked_fill(torch.triu(ones, 1), -torch.inf)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(-2))


def attention(wrong: str) -> Arguments:
    reference = randomise(FusedAttention())
    return {"reference": reference, "candidate": SplitAttention(wrong), "inputs": {"x": normal(2, 5, 8)}}


@pair("torch-torch/attention-scale", CauseKind.SCALE, CauseKind.CONSTANT, quick=True)
def attention_scale(faulty: bool) -> Arguments:
    return attention("scale" if faulty else "")


@pair("torch-torch/attention-mask", CauseKind.MASK, CauseKind.CONSTANT)
def attention_mask(faulty: bool) -> Arguments:
    return attention("mask" if faulty else "")


class Lstm(nn.Module):
    """All outputs of PyTorch's own LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class LoopedLstm(nn.Module):
    """A cell in a Python loop, with the same packed weights as two linear layers."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.ih, self.hh = nn.Linear(3, 16), nn.Linear(4, 16)
        self.faulty = faulty

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], 4)
        outputs = []
        for t in range(x.shape[1]):
            gates = self.ih(x[:, t]) + self.hh(h)
            if self.faulty:
                i, g, f, o = gates.chunk(4, -1)  # FAULT: torch-torch/lstm
            else:
                i, f, g, o = gates.chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()  # FAULT: torch-torch/lstm
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1)


@pair("torch-torch/lstm", CauseKind.GATE_ORDER, CauseKind.OPERANDS, quick=True)
def lstm(faulty: bool) -> Arguments:
    return {"reference": randomise(Lstm()), "candidate": LoopedLstm(faulty), "inputs": {"x": normal(2, 4, 3)}}


class EncoderParts(nn.Module):
    """`nn.TransformerEncoderLayer`, norms last, from its parts."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(8, 16), nn.Linear(16, 8)
        self.norm1 = nn.LayerNorm(8)
        self.norm2 = nn.LayerNorm(8, eps=1e-3 if wrong == "eps" else 1e-5)
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.self_attn(x, x, x)[0])
        h = self.linear1(x)
        if self.wrong == "gelu":
            h = F.gelu(h, approximate="tanh")  # FAULT: torch-torch/encoder-gelu
        else:
            h = F.gelu(h)
        return self.norm2(x + self.linear2(h))  # FAULT: torch-torch/encoder-eps


def encoder(wrong: str) -> Arguments:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
    return {
        "reference": randomise(layer),
        "candidate": EncoderParts(wrong).eval(),
        "inputs": {"src": normal(2, 5, 8)},
    }


@pair("torch-torch/encoder-gelu", CauseKind.ACTIVATION, quick=True)
def encoder_gelu(faulty: bool) -> Arguments:
    return encoder("gelu" if faulty else "")


@pair("torch-torch/encoder-eps", CauseKind.EPSILON)
def encoder_eps(faulty: bool) -> Arguments:
    return encoder("eps" if faulty else "")


class ConvNorm(nn.Module):
    """A convolution and its normalisation by running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Folded(ConvNorm):
    """The same with the normalisation folded into the convolution."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.faulty = faulty

    def forward(self, x: Tensor) -> Tensor:
        norm, conv = self.norm, self.conv
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert conv.bias is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        kernel = conv.weight * scale[:, None, None, None]
        if self.faulty:
            bias = norm.bias - norm.running_mean * scale  # FAULT: torch-torch/folded
        else:
            bias = norm.bias + (conv.bias - norm.running_mean) * scale
        return F.conv2d(x, kernel, bias, padding=1)  # FAULT: torch-torch/folded


@pair("torch-torch/folded")  # the reference adds the bias elsewhere: no change of one operation mends it
def folded(faulty: bool) -> Arguments:
    return {
        "reference": randomise(ConvNorm()),
        "candidate": Folded(faulty).eval(),
        "inputs": {"x": normal(2, 3, 6, 5)},
    }


class LastAxisKernel(nn.Module):
    """A convolution whose kernel lies (height, width, in, out)."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.zeros(3, 3, 3, 4)), nn.Parameter(torch.zeros(4))
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        if self.wrong == "transposed":
            kernel = self.kernel.permute(3, 2, 1, 0)  # FAULT: torch-torch/kernel
        else:
            kernel = self.kernel.permute(3, 2, 0, 1)
        if self.wrong == "padding":
            x = F.pad(x, (0, 2, 0, 2))  # FAULT: torch-torch/padding
        else:
            x = F.pad(x, (1, 1, 1, 1))
        return F.conv2d(x, kernel, self.bias)  # FAULT: torch-torch/kernel


def kernel(wrong: str) -> Arguments:
    reference = randomise(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)))
    pins = {"0.weight": ("kernel", (2, 3, 1, 0))}
    candidate = LastAxisKernel(wrong)
    return {
        "reference": reference,
        "candidate": candidate,
        "inputs": {"input": normal(2, 3, 6, 5)},
        "pins": pins,
    }


@pair("torch-torch/kernel", CauseKind.TRANSPOSED_KERNEL, CauseKind.KERNEL_LAYOUT)
def transposed_kernel(faulty: bool) -> Arguments:
    return kernel("transposed" if faulty else "")


@pair("torch-torch/padding", CauseKind.PADDING)
def padding(faulty: bool) -> Arguments:
    return kernel("padding" if faulty else "")


class Shifted(nn.Module):
    """A step back in time, joined from parts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.inner(x))
        before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
        return self.outer(0.5 * before + h)


class InPlace(Shifted):
    """The same written into memory, in place."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        h.relu_()  # FAULT: torch-torch/detach
        before = torch.zeros_like(h)
        if self.wrong == "shift":
            before[:, 2:] = h[:, :-2]  # FAULT: torch-torch/in-place-shift
        else:
            before[:, 1:] = h[:, :-1]
        if self.wrong == "scale":
            before.mul_(0.25)  # FAULT: torch-torch/in-place-scale
        else:
            before.mul_(0.5)
        if self.wrong == "detach":  # shows where the gradients of both uses of `h` meet
            before.add_(h.detach())  # FAULT: torch-torch/detach
        else:
            before.add_(h)
        return self.outer(before)


def in_place(wrong: str) -> Arguments:
    return {"reference": randomise(Shifted()), "candidate": InPlace(wrong), "inputs": {"x": normal(2, 5, 4)}}


@pair("torch-torch/in-place-shift", CauseKind.SHIFT, CauseKind.OPERANDS, CauseKind.ORDER)
def in_place_shift(faulty: bool) -> Arguments:
    return in_place("shift" if faulty else "")


@pair("torch-torch/in-place-scale", CauseKind.SCALE, CauseKind.CONSTANT)
def in_place_scale(faulty: bool) -> Arguments:
    return in_place("scale" if faulty else "")


@pair("torch-torch/detach", CauseKind.GRADIENT_RULE, stage=Stage.GRADIENTS, quick=True)
def detach(faulty: bool) -> Arguments:
    return in_place("detach" if faulty else "")


class Perceptron(nn.Module):
    """Two linear layers; a fault is an activation of another form, or a bias that is left out."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        if self.wrong == "slope":
            h = F.leaky_relu(h, 0.1)  # FAULT: torch-compiled/slope
        else:
            h = F.leaky_relu(h)
        if self.wrong == "bias":
            return F.linear(h, self.head.weight) + 0 * self.head.bias  # FAULT: torch-compiled/bias
        return self.head(h)


def compiled(wrong: str, backend: str) -> Arguments:
    candidate: Any = torch.compile(Perceptron(wrong), backend=backend)
    return {"reference": randomise(Perceptron()), "candidate": candidate, "inputs": {"x": normal(5, 4)}}


@pair("torch-compiled/slope", CauseKind.ACTIVATION, CauseKind.CONSTANT, quick=True)
def compiled_slope(faulty: bool) -> Arguments:
    return compiled("slope" if faulty else "", "eager")


@pair("torch-compiled/bias", CauseKind.MISSING_TERM, CauseKind.SCALE)
def compiled_bias(faulty: bool) -> Arguments:
    return compiled("bias" if faulty else "", "aot_eager")


def by_layer(params: dict[str, Tensor], x: Tensor) -> Tensor:
    """A function of tensors by name."""
    h = F.layer_norm(F.linear(x, params["w1"], params["b1"]), (6,), params["scale"], params["shift"])
    return F.linear(F.silu(h), params["w2"])


def by_matrix(faulty: bool) -> Any:
    """The same with the weights the other way round, from single operations."""

    def apply(params: dict[str, Tensor], x: Tensor) -> Tensor:
        h = x @ params["kernel1"] + params["bias1"]
        centred = h - h.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        if faulty:
            h = centred / (variance.sqrt() + 1e-5)  # FAULT: torch-functions/eps
        else:
            h = centred / (variance + 1e-5).sqrt()
        h = h * params["scale"] + params["shift"]
        return (h * h.sigmoid()) @ params["kernel2"]

    return apply


@pair("torch-functions/eps", CauseKind.EPSILON, quick=True)
def functions(faulty: bool) -> Arguments:
    shapes = {"w1": (6, 4), "b1": (6,), "scale": (6,), "shift": (6,), "w2": (3, 6)}
    params = {name: torch.as_tensor(normal(*shape, seed=k)) for k, (name, shape) in enumerate(shapes.items())}
    sizes = {"kernel1": (4, 6), "bias1": (6,), "scale": (6,), "shift": (6,), "kernel2": (6, 3)}
    return {
        "reference": by_layer,
        "candidate": by_matrix(faulty),
        "reference_params": params,
        "template": {name: torch.zeros(size) for name, size in sizes.items()},
        "inputs": {"x": normal(5, 4, seed=9)},
    }
