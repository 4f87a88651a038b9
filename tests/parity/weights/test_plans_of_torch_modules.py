"""A PyTorch model and its rewrite by hand, each traced: loaded by the plan, both forwards agree."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parity.frameworks.task import Task
from parity.frameworks.torch.torch_model import read_torch
from parity.frameworks.torch.torch_program import TorchProgram
from parity.frameworks.uses import torch_uses
from parity.weights import Signature, find_plan
from tests.parity.weights.test_weights_layers import normal, randomised

E = 8


def signatures(module: nn.Module, x: np.ndarray) -> dict[str, Signature]:
    """The module's tensors with their first uses in a trace."""
    model = read_torch(module)
    trace = TorchProgram(model, Task(("x",))).trace(model.weights, {"x": x})
    uses = torch_uses(trace)
    return {name: known._replace(use=uses.get(name)) for name, known in model.signatures.items()}


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(E, 2, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(E), nn.LayerNorm(E)
        self.up, self.down = nn.Linear(E, E), nn.Linear(E, E)

    def forward(self, x: Any) -> Any:
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def normalised(x: Any, dims: Any, keep: bool = True) -> Any:
    centred = x - x.mean(dims, keepdim=keep)
    return centred / torch.sqrt(x.var(dims, unbiased=False, keepdim=keep) + 1e-5)


class EncoderByHand(nn.Module):
    """Matrices (in, out) that are all square, under names that say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.ParameterList([weight(E) for _ in range(4)])
        self.m = nn.ParameterList([weight(E, E) for _ in range(6)])
        self.c = nn.ParameterList([weight(E) for _ in range(6)])

    def forward(self, x: Any) -> Any:
        def heads(t: Any) -> Any:
            return t.reshape(*t.shape[:2], 2, E // 2).transpose(1, 2)

        y = normalised(x, -1) * self.a[0] + self.a[1]
        q, k, v = (heads(y @ self.m[i] + self.c[i]) for i in range(3))
        mixed = torch.softmax(q @ k.transpose(-1, -2) / (E // 2) ** 0.5, -1) @ v
        x = x + mixed.transpose(1, 2).reshape(x.shape) @ self.m[3] + self.c[3]
        y = normalised(x, -1) * self.a[2] + self.a[3]
        return x + F.gelu(y @ self.m[4] + self.c[4]) @ self.m[5] + self.c[5]


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.up = nn.ConvTranspose2d(3, 3, 3)

    def forward(self, x: Any) -> Any:
        return self.up(F.relu(self.norm(self.conv(x))))


class ImageByHand(nn.Module):
    """A kernel HWIO, a norm by hand, and the function of a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.t = weight(3, 3, 3, 3), weight(3, 3, 3, 3)
        self.b, self.g, self.h, self.s = weight(3), weight(3), weight(3), weight(3)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("var", torch.ones(3))

    def forward(self, x: Any) -> Any:
        def per_channel(a: Any) -> Any:
            return a[None, :, None, None]

        x = F.conv2d(x, self.k.permute(3, 2, 0, 1), self.b)
        x = (x - per_channel(self.mean)) / torch.sqrt(per_channel(self.var) + 1e-5)
        return F.conv_transpose2d(F.relu(x * per_channel(self.g) + per_channel(self.h)), self.t, self.s)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(E, E, batch_first=True, num_layers=2)
        self.head = nn.Linear(E, E)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0])


class RecurrentByHand(nn.Module):
    """Packed gates (in, 4 out) and one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.ParameterList([weight(E, 4 * E) for _ in range(2)])
        self.u = nn.ParameterList([weight(E, 4 * E) for _ in range(2)])
        self.b = nn.ParameterList([weight(4 * E) for _ in range(2)])
        self.out, self.c = weight(E, E), weight(E)

    def forward(self, x: Any) -> Any:
        for w, u, b in zip(self.w, self.u, self.b, strict=True):
            h = c = x.new_zeros(len(x), E)
            states = []
            for t in range(x.shape[1]):
                i, f, g, o = (x[:, t] @ w + h @ u + b).chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                states.append(h)
            x = torch.stack(states, 1)
        return x @ self.out + self.c


PAIRS = {
    "encoder": (Encoder, EncoderByHand, normal(2, 5, E)),
    "image": (Image, ImageByHand, normal(2, 3, 7, 7)),
    "recurrent": (Recurrent, RecurrentByHand, normal(2, 4, E)),
}


@pytest.mark.parametrize("turned", [False, True], ids=["there", "back"])
@pytest.mark.parametrize("case", PAIRS)
def test_a_module_and_its_rewrite(case: str, turned: bool) -> None:
    *kinds, x = PAIRS[case]
    reference, candidate = (randomised(kind()) for kind in (reversed(kinds) if turned else kinds))
    plan = find_plan(signatures(reference, x), signatures(candidate, x), alike=True)
    assert plan.reversed == (case == "recurrent" and turned)
    weights = {n: t.numpy() for n, t in reference.state_dict().items() if t.is_floating_point()}
    loaded = {name: torch.as_tensor(np.array(array)) for name, array in plan.to_candidate(weights).items()}
    missing = candidate.load_state_dict(loaded, strict=False).missing_keys
    assert [name for name in missing if "num_batches" not in name] == []
    with torch.no_grad():
        wanted, actual = reference(torch.from_numpy(x)), candidate(torch.from_numpy(x))
    torch.testing.assert_close(actual, wanted, rtol=1e-12, atol=1e-12)
