"""Two recordings judged: numbers only, so that neither framework is needed."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from parity.numerics.precision import SIDES
from parity.numerics.yardstick import FORWARD
from parity.numerics.yardstick import compare as judge
from parity.pipeline.outcome import reporting
from parity.pipeline.record_jax import record_jax
from parity.pipeline.recorder import Directory, require_known, taken
from parity.pipeline.recordings import Recording, read
from parity.report.results import Environment, Quantity, Report

"""What a forward and backward pass is compared by."""

APART = (
    "gradients with respect to the inputs",
    "where the two sides part: that needs both models at hand (parity.check)",
)
"""What a comparison of recordings leaves out."""


def compare(first: Directory, second: Directory | Mapping[str, Any]) -> Report:
    """Compare two recordings, or one of PyTorch's side with a JAX model that is run now.

    Args:
        first: directory of a recording.
        second: directory of the other side's, or arguments of `parity.check` with `jax_model`.

    Returns:
        A report. Bad input, and a model that raises, give one with verdict `error`.
    """
    started = time.perf_counter()
    with reporting("compare") as outcome:
        one = read(first)
        outcome.name = one.name
        if isinstance(second, Mapping):
            require_known(second)
            other = record_jax(one, second.get("jax_model"), **taken(record_jax, second))
        else:
            other = read(second)
        torch, jax = _sorted(one, other)
        outcome.name = torch.name
        outcome.plan, outcome.environment = jax.plan, _joined(torch.environment, jax.environment)
        outcome.findings = tuple(dict.fromkeys((*torch.findings, *jax.findings)))
        outcome.not_checked = tuple(dict.fromkeys((*torch.not_checked, *jax.not_checked, *APART)))
        rules = dict(FORWARD)
        if why := jax.settings["undifferentiable"]:
            del rules["gradients"]
            why = f"gradients: the JAX model cannot be differentiated ({why})"
            outcome.not_checked = (why, *outcome.not_checked)
        quantities = list(jax.quantities)
        for title, sides in torch.runs.items():
            program = ", ".join(part for part in ("candidate", title) if part)
            tolerance = torch.settings["tolerance"]
            quantities += judge(
                _shared({d: sides[d] for d in jax.runs[title]}, jax.settings["outputs"]),
                jax.runs[title],
                rules,
                program=program,
                tolerance=None if tolerance is None else (tolerance[0], tolerance[1]),
            )
        outcome.quantities = _with_candidate_names(
            [*quantities, *torch.quantities], jax.settings["candidate_names"]
        )
    return dataclasses.replace(outcome.report(), seconds=time.perf_counter() - started)


def _sorted(one: Recording, other: Recording) -> tuple[Recording, Recording]:
    """PyTorch's side and JAX's.

    Raises:
        ValueError: if they are not one of each, or did not run with the same numbers.
    """
    if one.side == other.side:
        raise ValueError(
            f"both recordings are of {SIDES[one.side]}'s side; compare one of PyTorch's with one of JAX's"
        )
    torch, jax = (one, other) if one.side == "torch" else (other, one)
    if torch.key != jax.key:
        raise ValueError(
            "JAX's side ran with the weights and inputs of another recording; record it again with `weights` "
            "(--weights) set to this one"
        )
    return torch, jax


def _shared(sides: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """PyTorch's values with those outputs alone that are compared."""

    def kept(values: Mapping[str, Any]) -> dict[str, Any]:
        return {**values, "outputs": {n: a for n, a in values["outputs"].items() if n in names}}

    return {
        dtype: side._replace(base=kept(side.base), moves=kept(side.moves), other=kept(side.other))
        for dtype, side in sides.items()
    }


def _with_candidate_names(quantities: Sequence[Quantity], names: Mapping[str, str]) -> list[Quantity]:
    return [dataclasses.replace(q, candidate_name=q.candidate_name or names.get(q.name)) for q in quantities]


def _joined(torch: Environment, jax: Environment) -> Environment:
    """One environment of two: what differs is given for each side."""

    def both(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
        joined = {}
        for name in dict.fromkeys([*ours, *theirs]):
            values = [side[name] for side in (ours, theirs) if name in side]
            same = len(set(values)) == 1
            joined[name] = values[0] if same else f"{values[0]} (torch) and {values[1]} (jax)"
        return joined

    return Environment(
        both(torch.versions, jax.versions),
        both(torch.devices, jax.devices),
        both(torch.settings, jax.settings),
    )
