"""A gradient that one side stops is told, with the line that stops it, whichever side that is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from parity.pipeline.arguments import sorted_arguments
from parity.report.results import Divergence
from tests.parity.diagnose.diagnosed import Module, numbers

WEIGHTS = {"b": numbers(6), "v": numbers(6, 6), "w": numbers(6, 6)}

Function = Callable[[Any, Any], Any]


def centred_torch(stop: bool) -> Function:
    def forward(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x @ p["w"] + p["b"])
        mean = h.mean(0, keepdim=True)
        if stop:
            mean = mean.detach()  # STOP
        centred = h - mean
        return torch.sin(centred @ p["v"]) + centred

    return forward


def centred_jax(stop: bool) -> Function:
    def forward(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ p["w"] + p["b"])
        mean = h.mean(0, keepdims=True)  # MADE
        if stop:
            mean = jax.lax.stop_gradient(mean)  # STOP
        centred = h - mean  # READ
        return jnp.sin(centred @ p["v"]) + centred

    return forward


def target_torch(stop: bool) -> Function:
    def forward(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x @ p["w"] + p["b"])
        with torch.set_grad_enabled(not stop):
            target = torch.softmax(h, -1)  # STOP
        return -(target * torch.log_softmax(h @ p["v"], -1)).sum(-1)

    return forward


def target_jax(stop: bool) -> Function:
    def forward(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ p["w"] + p["b"])
        target = jax.nn.softmax(h, -1)  # MADE
        if stop:
            target = jax.lax.stop_gradient(target)  # STOP
        return -(target * jax.nn.log_softmax(h @ p["v"], -1)).sum(-1)  # READ

    return forward


def frozen_torch(stop: bool) -> Function:
    def forward(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x @ p["w"] + p["b"])
        if stop:
            h = h.detach()  # STOP
        return h @ p["v"]

    return forward


def frozen_jax(stop: bool) -> Function:
    def forward(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ p["w"] + p["b"])  # MADE
        if stop:
            h = jax.lax.stop_gradient(h)  # STOP
        return h @ p["v"]  # READ

    return forward


def frozen_inline(stop: bool) -> Function:
    """The value is computed, stopped and read on one line, as a library stops values of its own."""

    def forward(p: Any, x: jax.Array) -> jax.Array:
        if stop:
            return jax.lax.stop_gradient(jnp.tanh(x @ p["w"] + p["b"])) @ p["v"]  # STOP
        return jnp.tanh(x @ p["w"] + p["b"]) @ p["v"]

    return forward


def first_divergence(reference: Any, candidate: Any, **given: Any) -> Divergence:
    """Of two functions f(weights by name, x): a PyTorch one is made a module."""
    options = {
        "pins": {name: name for name in WEIGHTS},
        "dtypes": ("float64",),
        "finite_differences": False,
        "moved_weights": False,
    }
    inputs = (numbers(5, 6),)
    report = parity.check(reference, candidate, inputs, **sorted_arguments(options | given))
    assert report.verdict is parity.Verdict.FAIL, str(report)
    assert not report.failures("forward"), str(report)
    return report.divergences[0]


def from_torch_to_jax(reference: Function, candidate: Function) -> Divergence:
    shapes = {name: jax.ShapeDtypeStruct(array.shape, np.float32) for name, array in WEIGHTS.items()}
    return first_divergence(Module(reference, WEIGHTS), candidate, template=shapes)


def from_jax_to_torch(reference: Function, candidate: Function) -> Divergence:
    params = {name: jnp.asarray(array) for name, array in WEIGHTS.items()}
    return first_divergence(reference, Module(candidate, WEIGHTS), reference_params=params)


PAIRS = [(centred_torch, centred_jax), (target_torch, target_jax), (frozen_torch, frozen_jax)]


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=["statistics", "target", "all of a weight"])
@pytest.mark.parametrize("stopping", [True, False], ids=["the reference stops", "the candidate stops"])
@pytest.mark.parametrize("from_torch", [True, False], ids=["from PyTorch", "from JAX"])
def test_the_side_and_the_line_that_stop_a_gradient_are_told(
    theirs: Callable[[bool], Function], ours: Callable[[bool], Function], stopping: bool, from_torch: bool
) -> None:
    if from_torch:
        found = from_torch_to_jax(theirs(stopping), ours(not stopping))
    else:
        found = from_jax_to_torch(ours(stopping), theirs(not stopping))
    assert found.cause is not None, found
    assert found.cause.name == "gradient rule"
    reference = "PyTorch" if from_torch else "JAX"
    candidate = "JAX" if from_torch else "PyTorch"
    side = reference if stopping else candidate
    assert f"{side} stops the gradient" in found.cause.text, found.cause
    stops, lets_through = (found.reference, found.candidate)[:: 1 if stopping else -1]
    assert "# STOP" in stops[0].code, stops
    if lets_through is found.candidate and from_torch:
        assert "# MADE" in lets_through[0].code, lets_through


def test_a_stop_on_the_line_that_makes_and_reads_the_value_has_its_place() -> None:
    fault = from_torch_to_jax(frozen_torch(stop=False), frozen_inline(stop=True))
    assert fault.cause is not None
    assert "stops the gradient" in fault.cause.text
    assert fault.candidate[0].code.endswith("# STOP")


def packed_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    q, k, v = (x @ p["w"]).split(2, -1)
    return torch.softmax(q @ k.T / 2, -1) @ v


def packed_jax(p: Any, x: jax.Array) -> jax.Array:
    q, k, v = jnp.split(x @ p["w"], 3, -1)
    return jax.nn.softmax(jax.lax.stop_gradient(q @ k.T) / 2, -1) @ v  # STOP


def test_a_stop_that_keeps_most_of_a_packed_weight_out_of_training_has_its_place() -> None:
    """It stands on the line of a softmax, which has a stop of its own."""
    fault = from_torch_to_jax(packed_torch, packed_jax)
    assert fault.cause is not None, fault
    assert "a part of the weight is kept out of training" in fault.cause.text, fault.cause
    assert fault.candidate[0].code.endswith("# STOP"), fault.candidate


def quantised_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    z = torch.tanh(x @ p["w"] + p["b"])
    q = p["v"][torch.cdist(z, p["v"]).argmin(-1)]
    commitment = (q.detach() - z) ** 2
    q = z + (q - z).detach()  # THROUGH
    return torch.sin(q) + commitment


def quantised_jax(p: Any, x: jax.Array) -> jax.Array:
    z = jnp.tanh(x @ p["w"] + p["b"])
    q = p["v"][((z[:, None] - p["v"]) ** 2).sum(-1).argmin(-1)]
    return jnp.sin(q) + (jax.lax.stop_gradient(q) - z) ** 2


def test_a_gradient_that_is_not_led_past_a_quantisation_is_told_by_the_line_that_does() -> None:
    fault = from_torch_to_jax(quantised_torch, quantised_jax)
    assert fault.cause is not None, fault
    assert "PyTorch stops a gradient" in fault.cause.text, fault.cause
    assert "# THROUGH" in fault.reference[0].code, fault.reference


def baseline_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    value = torch.tanh(x @ p["w"] + p["b"])
    gain = 1 - value
    return torch.sin(x @ p["v"]) * gain.detach() + gain**2


def baseline_jax(p: Any, x: jax.Array) -> jax.Array:
    value = jnp.tanh(x @ p["w"] + p["b"])
    gain = 1 - value
    first = jnp.sin(x @ p["v"]) * gain  # READ
    return first + gain**2


def test_of_a_value_that_several_lines_read_the_line_that_must_stop_is_the_place() -> None:
    """Stopped where it is made, the second term would not train it either."""
    fault = from_torch_to_jax(baseline_torch, baseline_jax)
    assert fault.cause is not None, fault
    assert "PyTorch stops the gradient" in fault.cause.text, fault.cause
    assert "# READ" in fault.candidate[0].code, fault.candidate


def branches_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    target = torch.tanh(x @ p["w"] + p["b"])
    guess = torch.sin(target @ p["v"])
    target = target.detach()  # OWN
    return guess / guess.norm(dim=-1, keepdim=True) * target


def branches_jax(p: Any, x: jax.Array) -> jax.Array:
    target = jnp.tanh(x @ p["w"] + p["b"])
    guess = jnp.sin(target @ p["v"])
    guess = jax.lax.stop_gradient(guess)  # OTHER
    return guess / jnp.linalg.norm(guess, axis=-1, keepdims=True) * target


def test_the_wrong_one_of_two_branches_stopped_is_told_with_both_lines() -> None:
    fault = from_torch_to_jax(branches_torch, branches_jax)
    assert fault.cause is not None, fault
    assert "# OTHER" in fault.candidate[0].code, (fault.cause, fault.candidate)
    assert "stops" in fault.cause.text, fault.cause


def distances_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    h = torch.tanh(x @ p["w"] + p["b"])
    square = ((h[:, None] - h) ** 2).sum(-1)
    apart = square > 0
    return torch.where(apart, torch.where(apart, square, torch.ones_like(square)).sqrt(), 0 * square)


def distances_jax(p: Any, x: jax.Array) -> jax.Array:
    h = jnp.tanh(x @ p["w"] + p["b"])
    square = ((h[:, None] - h) ** 2).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(square), 0.0)  # ROOT


def test_a_root_at_zero_whose_gradient_comes_to_nan_is_told() -> None:
    fault = from_torch_to_jax(distances_torch, distances_jax)
    assert fault.cause is not None, fault
    assert "JAX's gradient is NaN, PyTorch's is not" in fault.cause.text, fault.cause
    assert "# ROOT" in fault.candidate[0].code, fault.candidate


def settled_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    u = x @ p["w"] + p["b"]
    z = torch.zeros_like(u)  # stops nothing
    for _ in range(6):
        z = torch.tanh(z @ p["v"] / 4 + u)
    return torch.sin(z)


def settled_jax(p: Any, x: jax.Array) -> jax.Array:
    u = x @ p["w"] + p["b"]
    z = jax.lax.fori_loop(0, 5, lambda _, z: jnp.tanh(z @ p["v"] / 4 + u), jnp.zeros_like(u))
    z = jax.lax.stop_gradient(z)  # STOP
    return jnp.sin(jnp.tanh(z @ p["v"] / 4 + u))


def stopping_once() -> dict[str, Any]:
    return {
        "reference": Module(settled_torch, WEIGHTS),
        "candidate": settled_jax,
        "template": {name: jax.ShapeDtypeStruct(array.shape, np.float32) for name, array in WEIGHTS.items()},
    }


def test_a_stop_in_one_step_of_many_is_told_where_nothing_else_explains_the_gradient() -> None:
    fault = first_divergence(**stopping_once())
    assert fault.cause is not None, fault
    assert "JAX stops a gradient on line" in fault.cause.text, fault.cause
    assert "# STOP" in fault.candidate[0].code, fault.candidate


def test_a_recording_holds_where_the_reference_stops_gradients(tmp_path: Path) -> None:
    settings = {
        "dtypes": ("float64",),
        "finite_differences": False,
        "moved_weights": False,
        "pins": {name: name for name in WEIGHTS},
        "inputs": (numbers(5, 6),),
        "template": stopping_once()["template"],
    }
    for name, reference, candidate, text in (
        ("stops", quantised_torch, quantised_jax, "PyTorch stops a gradient on line"),
        ("stops none", settled_torch, settled_jax, "JAX stops a gradient on line"),
    ):
        given = {**settings, "candidate": candidate}
        recorded = {**given, "reference": Module(reference, WEIGHTS)}
        parity.record(tmp_path / name, side="reference", trace=True, **recorded)
        report = parity.compare(tmp_path / name, given)
        cause = report.divergences[0].cause
        assert cause is not None, str(report)
        assert text in cause.text, cause
