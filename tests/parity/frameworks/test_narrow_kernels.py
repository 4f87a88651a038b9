"""What kernels of PyTorch do inside in a narrow dtype, measured: they compute in float32, and round once."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from parity.numerics.arrays import EPS
from parity.trace.vocabulary import ROUNDED_ONCE

Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

KERNELS: dict[str, Kernel] = {
    "sum": lambda x, w: x.sum(-1),
    "mean": lambda x, w: x.mean(-1),
    "var": lambda x, w: x.var(-1),
    "std": lambda x, w: x.std(-1),
    "norm": lambda x, w: torch.ops.aten.norm(x, 2, [-1]),
    "linalg_vector_norm": lambda x, w: torch.linalg.vector_norm(x, dim=-1),
    "logsumexp": lambda x, w: x.logsumexp(-1),
    "cumsum": lambda x, w: x.cumsum(-1),
    "mm": lambda x, w: x @ w,
    "bmm": lambda x, w: torch.bmm(x[None], w[None]),
    "mv": lambda x, w: x @ w[:, 0],
    "dot": lambda x, w: torch.dot(x[0], w[:, 0]),
    "convolution": lambda x, w: F.conv1d(x[:, None], w[:, 0][None, None]),
    "avg_pool1d": lambda x, w: F.avg_pool1d(x[:, None], x.shape[-1]),
    "avg_pool2d": lambda x, w: F.avg_pool2d(x.reshape(8, 1, 30, -1), 30),
    "_adaptive_avg_pool2d": lambda x, w: F.adaptive_avg_pool2d(x.reshape(8, 1, 30, -1), 1),
    "_adaptive_avg_pool3d": lambda x, w: F.adaptive_avg_pool3d(x.reshape(8, 1, 10, 10, -1), 1),
}


def test_every_kernel_of_which_it_is_said_is_measured() -> None:
    assert set(KERNELS) == ROUNDED_ONCE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_rounds_once(name: str, dtype: str) -> None:
    generator = torch.Generator().manual_seed(0)
    stored = getattr(torch, dtype)
    x, w = (
        (torch.rand(*shape, generator=generator) + 0.5).to(stored) / 8 for shape in ((8, 3000), (3000, 4))
    )
    narrow, exact = KERNELS[name](x, w).double(), KERNELS[name](x.double(), w.double())
    one_rounding = EPS[dtype] / 2 * exact.abs()
    assert float(((narrow - exact).abs() / one_rounding).max()) <= 1.02


def test_added_up_in_a_loop_it_rounds_many_times() -> None:
    x = (torch.rand(3000, generator=torch.Generator().manual_seed(0)) + 0.5).bfloat16()
    total = torch.zeros((), dtype=x.dtype)
    for entry in x:
        total = total + entry
    assert abs(float(total) / float(x.double().sum()) - 1) > 0.5
