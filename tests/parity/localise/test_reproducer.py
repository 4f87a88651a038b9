"""Reproducers: a directory that shows a divergence without the models, in a process of its own."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import parity
from parity.localise import find_regions
from parity.localise.jax_code import SEVERAL, expression
from parity.localise.reproducer import write_reproducer
from parity.report.sides import Sides
from tests.parity.diagnose.diagnosed import numbers, report_of
from tests.parity.diagnose.traced import compared

F = nn.functional

CONVOLUTION = (
    lambda p, x: torch.tanh(F.conv1d(x, p["w"], padding=1)),
    lambda p, x: jnp.tanh(
        jax.lax.conv_general_dilated(x, p["w"], (1,), [(0, 2)], dimension_numbers=("NCH", "OIH", "NCH"))
    ),
    {"w": numbers(4, 3, 3)},
    numbers(2, 3, 8),
)
DUPLICATES = (
    lambda p, x: torch.index_put(x, (torch.tensor([0, 2, 0]),), p["w"]) * 2,
    lambda p, x: x.at[jnp.array([0, 2, 0])].add(p["w"]) * 2,
    {"w": numbers(3, 4)},
    numbers(5, 4),
)


def test_the_script_computes_the_difference_that_the_report_tells(tmp_path: Path) -> None:
    report = report_of(*CONVOLUTION, settings=parity.Settings(reproduce=tmp_path))
    (divergence,) = report.divergences
    place = tmp_path / "divergence-1"
    assert sorted(file.name for file in place.iterdir()) == ["reproduce.py", "values.safetensors"]
    assert [file.name for file in tmp_path.iterdir()] == ["divergence-1"], "temporary files are left"
    assert any(str(place) in finding for finding in report.findings)
    run = subprocess.run(
        [sys.executable, place / "reproduce.py"], capture_output=True, text=True, cwd="/", check=True
    )
    printed = float(run.stdout.split()[-1])
    assert printed == pytest.approx(divergence.relative_error, rel=1e-3)


def test_the_script_is_valid_python_without_the_harness_and_holds_the_inputs(tmp_path: Path) -> None:
    report_of(*CONVOLUTION, settings=parity.Settings(reproduce=tmp_path))
    script = (tmp_path / "divergence-1" / "reproduce.py").read_text()
    modules = {
        alias.name
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert modules == {"jax", "jax.numpy"}
    assert "conv_general_dilated" in script
    assert "padding=((0, 2),)" in script
    values = load_file(tmp_path / "divergence-1" / "values.safetensors")
    shapes = sorted(array.shape for name, array in values.items() if name != "expected")
    assert shapes == [(2, 3, 8), (4, 3, 3)]
    given = next(array for array in values.values() if array.shape == (2, 3, 8))
    np.testing.assert_array_equal(given, CONVOLUTION[3].astype(np.float64))


def test_an_older_reproducer_is_replaced(tmp_path: Path) -> None:
    stale = tmp_path / "divergence-1"
    stale.mkdir()
    (stale / "left.txt").write_text("old")
    report_of(*CONVOLUTION, settings=parity.Settings(reproduce=tmp_path))
    assert not (stale / "left.txt").exists()
    assert (stale / "reproduce.py").exists()


def test_every_script_runs_whatever_the_operations(tmp_path: Path) -> None:
    report = report_of(*DUPLICATES, settings=parity.Settings(reproduce=tmp_path))
    assert report.divergences
    run = subprocess.run(
        [sys.executable, tmp_path / "divergence-1" / "reproduce.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "relative difference" in run.stdout


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = report_of(*CONVOLUTION, settings=parity.Settings(reproduce=tmp_path / "file"))
    assert any("cannot write reproducers" in finding for finding in report.findings), report.findings


def test_a_candidate_that_is_no_jax_program_is_recorded_and_needs_no_framework(tmp_path: Path) -> None:
    comparison = compared(lambda p, x: jnp.tanh(x) @ p["w"], lambda p, x: x @ p["w"], {"w": X}, X.T)
    region = next(find_regions(comparison, "outputs"))
    place = write_reproducer(
        comparison, region, tmp_path, 3, sides=Sides("the reference", "the candidate"), writer=None
    )
    script = (place / "reproduce.py").read_text()
    assert "jax" not in script
    assert "the candidate's value" in script
    run = subprocess.run([sys.executable, place / "reproduce.py"], capture_output=True, text=True, check=True)
    assert float(run.stdout.split()[-1]) == pytest.approx(region.error, rel=1e-3)


X, Y = numbers(3, 4).astype(np.float64), numbers(3, 4, seed=1).astype(np.float64)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda x, y: x * y, (X, Y)),
        (lambda x, y: x >= y, (X, Y)),
        (lambda x: jnp.sum(x, 1), (X,)),
        (lambda x: jnp.clip(x, -0.5, 0.5), (X,)),
        (lambda x: jax.nn.softmax(x), (X,)),
        (lambda x, y: x @ y.T, (X, Y)),
        (lambda x: jnp.sort(x, 1), (X,)),
        (lambda x: jnp.cumsum(x, 1), (X,)),
        (lambda x: x[1:, ::2], (X,)),
        (lambda x: jnp.pad(x, 1), (X,)),
        (lambda x: jnp.where(x > 0, x, 2 * x), (X,)),
        (lambda x: x[jnp.array([2, 0])], (X,)),
        (lambda x: x.at[jnp.array([2, 0])].add(1.0), (X,)),
    ],
)
def test_every_line_computes_what_the_operation_does(function: Any, arguments: Any) -> None:
    """Each operation of a jaxpr is written down and run, and gives JAX's own result."""
    with jax.enable_x64(True):
        jaxpr = jax.make_jaxpr(function)(*arguments)
        space: dict[str, Any] = {"jax": jax, "jnp": jnp}
        environment: dict[Any, Any] = dict(zip(jaxpr.jaxpr.invars, map(jnp.asarray, arguments), strict=True))
        environment.update(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
        written = _run(jaxpr.jaxpr, environment, space)
        np.testing.assert_allclose(written[0], function(*map(jnp.asarray, arguments)), rtol=1e-12)


def _run(jaxpr: Any, environment: dict[Any, Any], space: dict[str, Any]) -> list[Any]:
    def read(atom: Any) -> Any:
        return jnp.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else environment[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        if inner is not None:
            body = getattr(inner, "jaxpr", inner)
            given = dict(zip(body.invars, values, strict=True))
            given.update(zip(body.constvars, getattr(inner, "consts", ()), strict=True))
            results = _run(body, given, space)
        else:
            names = [f"v{i}" for i in range(len(values))]
            code = expression(eqn.primitive.name, names, eqn.params)
            assert code is not None, eqn.primitive.name
            found = eval(code, space | dict(zip(names, values, strict=True)))
            results = list(found) if eqn.primitive.name in SEVERAL else [found]
        environment.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
