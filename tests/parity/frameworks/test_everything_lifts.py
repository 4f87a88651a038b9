"""Every public function of JAX is traced in float32, lifted, run in float64 and recorded as a trace."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr

from parity.frameworks.jax.jax_trace import record_trace
from parity.frameworks.jax.lift import lifted
from parity.frameworks.jax.lifted_constants import constants_of
from parity.frameworks.jax.wide_dtypes import wide, widen
from parity.trace.graph import NodeKind
from tests.parity.frameworks.example_calls import CALLS
from tests.parity.frameworks.public_functions import (
    COMPLEX,
    GIVEN,
    Call,
    program,
    public_functions,
    usual_call,
)
from tests.parity.frameworks.uncalled_functions import FLOAT32, OTHERWISE, UNCALLED, reasons

pytestmark = pytest.mark.filterwarnings("ignore")  # what JAX itself says of its functions

FUNCTIONS = public_functions()
LEFT_OUT, OTHERS = reasons(UNCALLED), reasons(OTHERWISE)
CALLED = [name for name in FUNCTIONS if name not in LEFT_OUT]

SAMPLE = 16
"""Of so many functions one is run in float64 and recorded by default; all of them with `-m whole`."""

COMPLEX_BY_DEFAULT = ("jax.numpy.fft.", "jax.numpy.linalg.c", "jax.numpy.linalg.s")
"""Where names begin whose functions are run with complex numbers by default."""

RTOL, ATOL = 1e-9, 1e-11
"""Rounding in float64 of functions that sum, solve and iterate; float32 anywhere inside is 1e-8 off."""

SORTS_COMPLEX = {"argmax", "argmin", "nanargmax", "nanargmin"}
"""Functions that trace complex operands, which JAX then cannot run."""


def sampled(names: Sequence[str], by_default: Sequence[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in by_default else pytest.mark.whole) for name in names]


def call_of(name: str) -> Call:
    call = CALLS.get(name) or usual_call(FUNCTIONS[name])
    assert call is not None, f"{name}: no call fits; add it to example_calls, or to uncalled_functions"
    return call


def complex_call(name: str) -> Call | None:
    return None if name.rpartition(".")[2] in SORTS_COMPLEX else usual_call(FUNCTIONS[name], COMPLEX)


def traced(name: str, call: Call) -> tuple[Callable[..., list[Any]], ClosedJaxpr]:
    run = program(FUNCTIONS[name], call)
    return run, jax.make_jaxpr(run)(*GIVEN)


def test_the_tables_are_complete_and_have_no_stale_entries() -> None:
    assert not set(LEFT_OUT) - set(FUNCTIONS), "left out, and not there"
    assert not set(OTHERS) - set(CALLED), "other in float64, and not there or not called"
    assert not set(CALLS) - set(CALLED), "with a call, and not there or not called"
    assert len(CALLED) > 700


def lifts(closed: ClosedJaxpr) -> None:
    """The lifted program has the shapes of the program, and the wide dtypes."""
    with jax.enable_x64(True):
        arguments = [widen(array) for array in GIVEN]
        found = jax.eval_shape(functools.partial(lifted(closed), constants_of(closed)), *arguments)
    for before, after in zip(closed.out_avals, found, strict=True):
        assert (after.shape, after.dtype) == (before.shape, wide(before.dtype))


def computes(name: str, run: Callable[..., list[Any]], closed: ClosedJaxpr) -> None:
    """The lifted program computes what the function does in float64, and its trace what the program does."""
    arguments = [widen(array) for array in GIVEN]
    with jax.enable_x64(True):
        found = [np.asarray(value) for value in lifted(closed)(constants_of(closed), *arguments)]
        if name not in OTHERS:
            for value, own in zip(found, run(*map(jnp.asarray, arguments)), strict=True):
                np.testing.assert_allclose(value, own, RTOL, ATOL, err_msg="not what the function computes")
        elif OTHERS[name] != FLOAT32:
            assert any(value.dtype in (np.float64, np.complex128) for value in found)
    inputs = [(NodeKind.INPUT, str(k), array) for k, array in enumerate(GIVEN)]
    trace = record_trace(closed, inputs, [("outputs", str(k)) for k in range(len(found))])
    for value, node in zip(found, trace.outputs["outputs"].values(), strict=True):
        recorded = trace.nodes[node].array
        assert recorded.dtype == value.dtype
        np.testing.assert_allclose(recorded, value, RTOL, ATOL, err_msg="the trace is not what was run")


@pytest.mark.parametrize("name", CALLED)
def test_every_function_lifts(name: str) -> None:
    lifts(traced(name, call_of(name))[1])


@pytest.mark.parametrize("name", sampled(CALLED, CALLED[::SAMPLE]))
def test_every_function_runs_and_traces_in_float64(name: str) -> None:
    computes(name, *traced(name, call_of(name)))


@pytest.mark.parametrize("name", sampled(CALLED, [n for n in CALLED if n.startswith(COMPLEX_BY_DEFAULT)]))
def test_every_function_that_takes_complex_numbers_runs_and_traces(name: str) -> None:
    call = complex_call(name)
    if call is not None:
        run, closed = traced(name, call)
        lifts(closed)
        computes(name, run, closed)
