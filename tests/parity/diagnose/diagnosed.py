"""Little pairs with a fault: a function of tensors and its faulty port, checked, and the cause found."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from torch import nn

import parity
from parity.pipeline.arguments import sorted_arguments
from parity.report.results import Cause


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 numbers, always the same."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


class Module(nn.Module):
    """A PyTorch function of parameters by name and of inputs, as a module."""

    def __init__(self, function: Callable[..., torch.Tensor], params: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.function = function
        for name, array in params.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(array)))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(dict(self.named_parameters()), *inputs)


def report_of(
    reference: Callable[..., torch.Tensor],
    candidate: Callable[..., jax.Array],
    params: dict[str, np.ndarray],
    *inputs: np.ndarray,
    **options: Any,
) -> parity.Report:
    """The check of two functions f(params by name, *inputs)."""
    given = {
        "template": {name: jax.ShapeDtypeStruct(a.shape, np.float32) for name, a in params.items()},
        "pins": {name: name for name in params},
        "dtypes": ("float64",),
        "finite_differences": False,
        "moved_weights": False,
    }
    return parity.check(Module(reference, params), candidate, inputs, **sorted_arguments(given | options))


def named_fault(report: parity.Report) -> Cause:
    """The cause of the first divergence, which must stand on the line that is marked `# FAULT`."""
    first = report.divergences[0]
    assert "# FAULT" in first.candidate[0].code, report
    assert first.cause is not None, report
    return first.cause


def cause_of(*pair: Any, **options: Any) -> Cause | None:
    """The cause of the first divergence of a faulty pair."""
    report = report_of(*pair, **options)
    assert report.verdict is parity.Verdict.FAIL, str(report)
    return report.divergences[0].cause
