"""PyTorch models under `torch.compile`: the compiled code is judged, the written code is traced."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import parity
from parity.report.results import Verdict
from tests.kit.inputs import normal
from tests.kit.weights import randomise

SETTINGS = parity.Settings(finite_differences=False, moved_weights=False)
INPUTS = {"x": normal(5, 4)}


class Net(nn.Module):
    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.fc, self.slope = nn.Linear(4, 3), slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(self.fc(x), self.slope)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What one test compiles is not there in the next."""
    yield
    torch._dynamo.reset()


def of_module(module: nn.Module, backend: Any) -> nn.Module:
    return torch.compile(module, backend=backend)  # type: ignore[return-value]


def in_place(module: nn.Module, backend: Any) -> nn.Module:
    module.compile(backend=backend)
    return module


def of_part(module: nn.Module, backend: Any) -> nn.Module:
    module.fc = torch.compile(module.fc, backend=backend)
    return module


@pytest.mark.parametrize("compiled", [of_module, in_place, of_part])
def test_the_compiled_code_runs_in_float32_alone(compiled: Callable[..., nn.Module]) -> None:
    met: list[set[torch.dtype]] = []

    def backend(graph: Any, examples: list[torch.Tensor]) -> Any:
        met.append({example.dtype for example in examples})
        return graph.forward

    candidate = compiled(Net(), backend)
    report = parity.check(randomise(Net()), candidate, INPUTS, settings=SETTINGS)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.dtypes == ("float64", "float32")
    assert met
    assert all(dtypes == {torch.float32} for dtypes in met)
    assert any("compiled code runs in float32" in finding for finding in report.findings)


def test_a_compiler_that_compiles_wrongly_is_found_out() -> None:
    def wrong(graph: Any, examples: list[torch.Tensor]) -> Any:
        for node in graph.graph.nodes:
            if "leaky_relu" in str(node.target):
                node.args = (node.args[0], 0.1, *node.args[2:])
        graph.recompile()
        return graph.forward

    report = parity.check(randomise(Net()), of_module(Net(), wrong), INPUTS, settings=SETTINGS)
    assert report.verdict is Verdict.FAIL
    assert {q.dtype for q in report.failures()} == {"float32"}
    assert any("compiled code runs in float32" in finding for finding in report.findings)


def test_a_fault_is_placed_in_the_code_as_it_was_written() -> None:
    report = parity.check(randomise(Net()), of_module(Net(0.02), "eager"), INPUTS, settings=SETTINGS)
    assert report.verdict is Verdict.FAIL
    place = report.divergences[0].candidate[0]
    assert "leaky_relu" in place.code
    assert place.file == __file__
    assert "_orig_mod" not in place.module
    assert ("fc.bias (3,)", "_orig_mod.fc.bias (3,)") in {row[:2] for row in report.plan}
