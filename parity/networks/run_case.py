"""Run a built-in case: weights, forward, gradients, one step and the curve, in one report."""

from collections.abc import Mapping, Sequence

from flax import nnx

import jaxnn
from parity.networks import parallel
from parity.networks.drawing import Drawn, draw_case
from parity.networks.network_training import SPLITS, decided_by, jax_training, torch_training
from parity.networks.processes import ProcessGroup
from parity.networks.registry import Case, CaseResult
from parity.networks.samples import draw_numbers
from parity.numerics.arrays import DTYPES, Arrays
from parity.numerics.noise import Subject
from parity.numerics.progress import Progress, no_progress
from parity.pipeline.check import check
from parity.pipeline.check_training import check_training
from parity.pipeline.measuring import Oracle
from parity.pipeline.outcome import joined
from parity.pipeline.request import Settings
from parity.report.results import Report

BATCH = 64
"""Samples of the forward and gradient stages: enough for every unit to be active on some."""

QUICK_SAMPLES = 300
"""Training samples of the default run: four full batches and a short one."""

LAYOUT = (0, 2, 3, 1)
"""Images: PyTorch's NCHW to JAX's NHWC."""


def run_case(
    case: Case,
    *,
    data_name: str = "embedded",
    dtypes: Sequence[str] = DTYPES,
    device: str = "cpu",
    epochs: int | None = None,
    learning_rate: float | None = None,
    full: bool = False,
    samples: int | None = None,
    seed: int = 0,
    group: ProcessGroup | None = None,
    progress: Progress = no_progress,
) -> CaseResult:
    """Compare one network of `torchref` with its twin in `jaxnn`, weights drawn once and shared.

    Args:
        case: which one.
        data_name: "embedded", "sign-digits" or "dogs-cats".
        dtypes: floating dtypes to judge.
        device: "cpu" or "cuda".
        epochs: of the curve; None for the case's few, or the recipe's with `full`.
        learning_rate: None for the recipe's.
        full: take the recipe's epochs and all samples.
        samples: training samples; None for `QUICK_SAMPLES`, or all with `full`. With `group` the default
            is one less, so that neither an epoch nor its last batch can be dealt out evenly.
        seed: of the weights.
        group: processes that have called `parity.networks.parallel.join`: they train the same networks
            together, and are compared with PyTorch in one process, too.
        progress: called with a short description as each phase begins.

    Raises:
        ValueError: if the data set is unknown or not prepared.
    """
    quick = QUICK_SAMPLES if group is None else QUICK_SAMPLES - 1
    limit = samples or (None if full else quick)
    drawn = draw_case(case, data_name, seed=seed, limit=limit)
    torch_recipe, jax_recipe, loaded = drawn.torch_recipe, drawn.jax_recipe, drawn.samples
    epochs = epochs or (torch_recipe.epochs if full else case.quick_epochs)
    learning_rate = torch_recipe.learning_rate if learning_rate is None else learning_rate

    num_samples = len(loaded.inputs["x_train"])
    numbers = draw_numbers(case.recipe, num_samples, epochs=epochs, seed=seed)

    progress("forward and gradients")
    checked = check_case(
        case.name,
        drawn,
        Settings(dtypes=dtypes, seed=seed, device=device),
        oracles=_oracles(case, drawn),
        numbers={name: rows[0] for name, rows in numbers.items()},
    )
    progress("training")
    pair = drawn.pair()
    how = (epochs, learning_rate, drawn.order, device)
    others = {}
    if group is not None:
        setup = parallel.Setup(case.name, data_name, limit, seed, epochs, learning_rate, device)
        others = parallel.subjects(group, setup, pair)
    trained = check_training(
        Subject(torch_training(pair, torch_recipe, *how), pair.weights),
        Subject(jax_training(pair, jax_recipe, *how), pair.candidate_weights),
        {**loaded.inputs, **numbers},
        decided_by=decided_by(torch_recipe.labels),
        scales={f"{split}_r_squared": 1.0 for split in SPLITS},
        oracles=others,
        settings=Settings(dtypes=dtypes, seed=seed, device=device),
        name=case.name,
    )
    used = "diabetes" if torch_recipe.labels == "real" else data_name
    return CaseResult(joined(case.name, checked, trained), used, epochs, case.erratum)


def check_case(
    name: str,
    drawn: Drawn,
    settings: Settings,
    *,
    oracles: Mapping[str, Oracle] | None = None,
    numbers: Arrays | None = None,
    progress: Progress = no_progress,
) -> Report:
    """`parity.check` of a case's networks on its first samples, as they are in training.

    Args:
        name: of the report.
        drawn: the case.
        settings: of the check.
        oracles: further programs of the same network, by label.
        numbers: what both networks take beside the samples in training, a row per sample.
        progress: called with a short description as each phase begins.
    """
    inputs = drawn.samples.inputs
    return check(
        drawn.network,
        drawn.model.apply,
        {"x": inputs["x_train"][:BATCH], **{name: rows[:BATCH] for name, rows in (numbers or {}).items()}},
        targets=inputs["y_train"][:BATCH],
        loss=(drawn.torch_recipe.loss, drawn.jax_recipe.loss),
        weights=drawn.weights,
        layout={"x": LAYOUT} if drawn.torch_recipe.images else None,
        settings=settings,
        name=name,
        oracles=oracles,
        progress=progress,
    )


def _oracles(case: Case, drawn: Drawn) -> dict[str, Oracle]:
    """Further JAX programs of the same network: gradients by hand, and the Flax NNX module."""
    oracles = {}
    if case.recipe in jaxnn.by_hand.HAND_GRADIENTS:
        by_hand = jaxnn.by_hand.HAND_GRADIENTS[case.recipe]
        oracles["by hand"] = Oracle(drawn.model.apply, drawn.template, by_hand)
    module, samples = drawn.jax_recipe.module, drawn.samples
    if module is not None:
        abstract = nnx.eval_shape(
            lambda: module(samples.jax_input_shape, samples.num_outputs, rngs=nnx.Rngs(0))
        )
        oracles["flax nnx"] = Oracle(abstract)
    return oracles
