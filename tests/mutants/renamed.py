"""Right ports with other weights, their leaves renamed and shuffled: none may fail."""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from torch import nn

import parity
from parity.frameworks.jax.jax_model import JaxModel
from parity.frameworks.jax.trees import flatten
from parity.frameworks.task import bind
from parity.pipeline.arguments import sorted_arguments
from parity.report.results import Verdict
from tests.kit.weights import randomise
from tests.mutants.limited import Late, limited
from tests.mutants.rows import Outcome, Row
from tests.mutants.settled import settle, signature
from tests.mutants.sources import given
from tests.mutants.trying import HOW, said


def renamed_rows(name: str, seeds: Sequence[int], seconds: float) -> Iterator[Row]:
    """The right port once for each seed.

    Args:
        name: of the port or pair file.
        seeds: of the weights and of the names.
        seconds: that one check may take.
    """
    jax.clear_caches()
    try:
        with given(name) as arguments:
            with limited(4 * seconds):
                right = settle(arguments)
            for seed in seeds:
                yield _checked(name, right.arguments, right.model, right.task.inputs, seed, seconds)
    except (Exception, Late) as error:
        yield Row(name, name, "", "cannot be opened", "", Outcome.UNFIT, said(error))


def _checked(
    name: str, arguments: dict[str, Any], model: JaxModel, inputs: tuple[str, ...], seed: int, seconds: float
) -> Row:
    row = Row(f"{name}:{seed}", name, "", "right", "", Outcome.EQUIVALENT)
    started = time.process_time()
    try:
        with limited(seconds):
            if isinstance(arguments["reference"], nn.Module):
                randomise(arguments["reference"], seed)
            how = {k: v for k, v in arguments.items() if k != "pins"}
            candidate = renamed(model, inputs, seed)
            report = parity.check(**sorted_arguments({**how, **candidate, "name": row.id, **HOW}))
    except Late:
        return row._replace(outcome=Outcome.LATE, seconds=time.process_time() - started)
    except Exception as error:
        return row._replace(
            outcome=Outcome.STOPPED, verdict=said(error), seconds=time.process_time() - started
        )
    failed = report.verdict is not Verdict.PASS
    return row._replace(
        outcome=Outcome.FOUND if failed else Outcome.EQUIVALENT,
        verdict=report.verdict.value,
        where=_first(report) if failed else "",
        seconds=time.process_time() - started,
    )


def _first(report: parity.Report) -> str:
    """The quantity that failed worst."""
    worst = report.worst()
    return "" if worst is None else f"{worst.stage} {worst.name}, rho {worst.rho:.3g}"


def renamed(model: JaxModel, inputs: tuple[str, ...], seed: int) -> dict[str, Any]:
    """A candidate with names that say nothing, in an order that says nothing, and its template."""
    paths = list(model.weights)
    random.Random(seed).shuffle(paths)
    names = {f"leaf_{number:03}": path for number, path in enumerate(paths)}

    def candidate(params: Any, *args: Any, **kwargs: Any) -> Any:
        leaves, _ = flatten(params)
        given = {**dict(zip(inputs, args, strict=False)), **kwargs}
        own = model.tree.build({path: leaves[name] for name, path in names.items()})
        positional, named = bind(model.target, model.skip, given)
        return model.call(own, *positional, **named)

    candidate.__signature__ = signature(inputs)  # type: ignore[attr-defined]
    shapes = {
        name: jax.ShapeDtypeStruct(model.weights[path].shape, np.float32) for name, path in names.items()
    }
    return {"candidate": candidate, "template": shapes}
