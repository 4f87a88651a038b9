"""Mutants of a right port drawn and checked."""

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

import parity
from parity.pipeline.arguments import sorted_arguments
from parity.report.kinds import CauseKind, Stage
from parity.report.results import Report, Verdict
from tests.mutants.limited import Late, limited
from tests.mutants.mutating import UnfitError, mutated
from tests.mutants.rows import Outcome, Row
from tests.mutants.rules import RULES
from tests.mutants.settled import Right, Values, as_function, evaluated, same, settle, template
from tests.mutants.sites import Line, Site, sites_of
from tests.mutants.sources import given, is_file
from tests.mutants.variant import Variant

ROOT = Path(__file__).resolve().parents[2]

HOW = {"dtypes": ["float64"], "finite_differences": False, "moved_weights": False}
"""What a check of a mutant leaves out, for speed: the ports' weights are random already."""

_KEPT: list[list[Report]] = []
"""Lists that want the reports themselves."""


@contextlib.contextmanager
def reports() -> Iterator[list[Report]]:
    """A list of every report that is made in the block."""
    kept: list[Report] = []
    _KEPT.append(kept)
    try:
        yield kept
    finally:
        _KEPT.remove(kept)


Choice = tuple[str, Site, int, Variant]
"""Rule, site, number of the variant, and the variant."""


def mutants_of(name: str, seed: int, count: int, seconds: float, only: str = "") -> Iterator[Row]:
    """Draw mutants of a right port, one of each rule in turn, and check each that differs from it.

    Args:
        name: of the port or pair file.
        seed: of the draw; another port's draw does not change this one's.
        count: how many to check.
        seconds: that one may take.
        only: id of the one to check instead.

    Yields:
        A row for each; the right port's own if it cannot be opened.
    """
    jax.clear_caches()
    try:
        with given(name) as arguments, limited(4 * seconds):
            right = settle(arguments)
            base = evaluated(right, right.closed)
            choices = _chosen(right, name, seed, only)
    except (Exception, Late) as error:
        yield Row(name, name, "", "cannot be opened", "", Outcome.UNFIT, said(error))
        return
    done = 0
    for choice in choices:
        if done == count:
            return
        with given_again(name):
            row = _tried(right, base, name, choice, seconds)
        if row.outcome is not Outcome.UNFIT:
            done += 1
            yield row


def given_again(name: str) -> Any:
    """A pair file's directory on the path while its models run; nothing for a port."""
    return given(name) if is_file(name) else contextlib.nullcontext()


def _chosen(right: Right, name: str, seed: int, only: str) -> list[Choice]:
    """The mutants of a port in the order in which they are tried: a rule in turn, sites by chance."""
    by_rule: dict[str, list[Choice]] = {rule: [] for rule in RULES}
    for site in sites_of(right.closed, len(right.paths)):
        for rule, row in RULES.items():
            by_rule[rule] += [(rule, site, i, v) for i, v in enumerate(row.changes(site))]
    if only:
        return [c for choices in by_rule.values() for c in choices if _id(name, c) == only]
    draw = random.Random(f"{seed} {name}")
    waiting = [choices for choices in by_rule.values() if choices]
    draw.shuffle(waiting)
    for choices in waiting:
        draw.shuffle(choices)
    longest = max(map(len, waiting), default=0)
    return [choices[turn] for turn in range(longest) for choices in waiting if turn < len(choices)]


def _id(name: str, choice: Choice) -> str:
    rule, site, number, _ = choice
    return f"{name}:{rule}:{'.'.join(map(str, site.path))}:{number}"


def _tried(right: Right, base: Values, name: str, choice: Choice, seconds: float) -> Row:
    """One mutant, evaluated and, where it differs, checked."""
    rule, site, _, variant = choice
    text = f"{site.eqn.primitive.name}: {variant.text}"
    row = Row(_id(name, choice), name, rule, text, shown(site.line), Outcome.EQUIVALENT)
    started = time.process_time()
    try:
        with limited(seconds):
            try:
                closed = mutated(right.closed, site.path, variant.replace)
                values = evaluated(right, closed)
            except Exception as error:
                kind = type(error).__name__ if not isinstance(error, UnfitError) else ""
                return row._replace(outcome=Outcome.UNFIT, verdict=f"{kind} {error}".strip())
            if same(base, values):
                return row._replace(seconds=time.process_time() - started)
            report = checked(right, closed, row.id)
            for kept in _KEPT:
                kept.append(report)
            if report.verdict is Verdict.PASS and refilled(right, closed, base):
                took = time.process_time() - started
                return row._replace(verdict="with its leaves filled another way", seconds=took)
    except Late:
        return row._replace(outcome=Outcome.LATE, seconds=time.process_time() - started)
    except Exception as error:
        took = time.process_time() - started
        return row._replace(outcome=Outcome.STOPPED, verdict=said(error), seconds=took)
    return judged(row, report, site)._replace(seconds=time.process_time() - started)


def candidate_of(right: Right, closed: ClosedJaxpr) -> dict[str, Any]:
    """The arguments of `parity.check` that say what a mutant is: a function, and the shapes of its leaves."""
    return {"candidate": as_function(right, closed), "template": template(right)}


def refilled(right: Right, closed: ClosedJaxpr, base: Values) -> bool:
    """Whether a mutant computes the right outputs with the weights that the harness loads it with.

    `x @ kernel.T` for `x @ kernel` is a port as right, of a kernel that lies the other way. Its gradients are
    the right ones in another order.
    """
    again = settle({**right.arguments, **candidate_of(right, closed)})
    return same(_in_any_order(base), _in_any_order(evaluated(again, again.closed)))


def _in_any_order(values: Values) -> Values:
    """Outputs and loss as they are, all entries of all gradients sorted."""
    gradients = [value.ravel() for (group, _), value in values.items() if group == "gradients"]
    kept = {key: value for key, value in values.items() if key[0] != "gradients"}
    return {**kept, ("gradients", "all"): np.sort(np.concatenate([np.zeros(0), *gradients]))}


def checked(right: Right, closed: ClosedJaxpr, name: str) -> Report:
    """The harness on a candidate that evaluates this jaxpr, with its shapes alone as a template."""
    given = {**right.arguments, **candidate_of(right, closed), **HOW, "name": name}
    return parity.check(**sorted_arguments(given))


def judged(row: Row, report: Report, site: Site) -> Row:
    """A row with what a report says of the mutant."""
    lines = [[(p.file, p.line) for p in d.candidate if p.file] for d in report.divergences]
    heads = [line[0] for line in lines if line]
    explained = next((d for d in report.divergences if d.cause is not None), None)
    cause = explained.cause.name if explained is not None and explained.cause is not None else None
    true = set(RULES[row.rule].causes)
    if explained is not None and explained.stage is Stage.GRADIENTS:
        true.add(CauseKind.GRADIENT_RULE)  # what any cause is called where the outputs agree
    return row._replace(
        outcome=Outcome.FOUND if report.verdict is Verdict.FAIL else Outcome.MISSED,
        verdict=report.verdict.value,
        placed=any(line in site.near for one in lines for line in one),
        first=bool(heads) and heads[0] in site.near,
        where=shown(heads[0]) if heads else "",
        cause=cause.value if cause is not None else "",
        named=cause in true,
    )


def shown(line: Line) -> str:
    """A line as file:line, the file from the root of the project where it lies there."""
    file = Path(line[0])
    for root in (ROOT, *(p for p in file.parents if p.name == "site-packages")):
        if file.is_relative_to(root):
            file = file.relative_to(root)
    return f"{file}:{line[1]}"


def said(error: BaseException) -> str:
    """What was raised, in a line."""
    first = (str(error) or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"[:200]
