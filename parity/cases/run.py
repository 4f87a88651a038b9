"""Run a built-in case: weights, forward, gradients, one step and the curve, in one report."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import torch
from flax import nnx

import jaxnn
import torchref
from data import batches
from parity.arrays import DTYPES
from parity.cases.registry import Case, Erratum
from parity.cases.samples import Samples, load_samples
from parity.cases.training import SPLITS, decided_by, jax_training, torch_training
from parity.model_check import check
from parity.noise import Subject
from parity.pairs import Oracle, match
from parity.reporting import joined
from parity.result import Report, Verdict
from parity.training_check import check_training

BATCH = 64
"""Samples of the forward and gradient stages: enough for every unit to be active on some."""

QUICK_SAMPLES = 300
"""Training samples of the default run: four full batches and a short one."""

LAYOUT = (0, 2, 3, 1)
"""Images: PyTorch's NCHW to JAX's NHWC."""


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """A case's report beside what was expected of it.

    Attributes:
        report: what was found.
        data: the data set it ran on.
        epochs: epochs of the curve.
        erratum: set when the case must fail.
    """

    report: Report
    data: str
    epochs: int
    erratum: Erratum | None = None

    @property
    def confirmed(self) -> bool:
        """Whether this is an erratum that failed exactly as it should."""
        return self.erratum is not None and self.erratum.confirmed_by(self.report)

    @property
    def verdict(self) -> Verdict:
        """Pass when everything agrees, or when an erratum failed as it should."""
        if self.erratum is None:
            return self.report.verdict
        if self.report.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE):
            return self.report.verdict
        return Verdict.PASS if self.confirmed else Verdict.FAIL


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
    stage: Callable[[str], None] = lambda _: None,
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
        samples: training samples; None for `QUICK_SAMPLES`, or all with `full`.
        seed: of the weights.
        stage: called with the name of the stage that begins, for a progress display.

    Raises:
        ValueError: if the data set is unknown or not prepared.
    """
    ours, theirs = torchref.RECIPES[case.torch_recipe or case.recipe], jaxnn.RECIPES[case.recipe]
    limit = samples or (None if full else QUICK_SAMPLES)
    loaded = load_samples(data_name, labels=ours.labels, images=ours.images, limit=limit)
    epochs = epochs or (ours.epochs if full else case.quick_epochs)
    learning_rate = ours.learning_rate if learning_rate is None else learning_rate
    torch_network, torch_params = draw(ours, loaded, seed)
    model = theirs.model(loaded.jax_input_shape, loaded.num_outputs)
    template = jax.eval_shape(model.init, jax.random.key(seed))

    stage("forward and gradients")
    checked = check(
        torch_network,
        model.apply,
        {"x": loaded.inputs["x_train"][:BATCH]},
        targets=loaded.inputs["y_train"][:BATCH],
        loss=(ours.loss, theirs.loss),
        template=template,
        torch_params=torch_params,
        layout={"x": LAYOUT} if ours.images else None,
        dtypes=dtypes,
        oracles=_oracles(case, model, template, loaded),
        name=case.name,
        seed=seed,
        device=device,
    )
    stage("training")
    pair = match(torch_network, model.apply, template=template, torch_params=torch_params)
    order = batches.order(len(loaded.inputs["x_train"]), batch_size=ours.batch_size)[0]
    how: dict[str, Any] = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "order": order if ours.batch_size else None,
        "device": device,
    }
    trained = check_training(
        Subject(torch_training(pair, ours, **how), pair.weights),
        Subject(jax_training(pair, theirs, **how), pair.jax_weights),
        loaded.inputs,
        decided_by=decided_by(ours.labels),
        scales={f"{split}_r_squared": 1.0 for split in SPLITS},
        dtypes=dtypes,
        name=case.name,
        seed=seed,
        device=device,
    )
    used = "diabetes" if ours.labels == "real" else data_name
    return CaseResult(joined(case.name, checked, trained), used, epochs, case.erratum)


def draw(recipe: torchref.Recipe, samples: Samples, seed: int) -> tuple[Any, dict[str, torch.Tensor] | None]:
    """The PyTorch network of a recipe, its weights drawn from a seed: a module, or a function and tensors."""
    shape, num_outputs = samples.input_shape, samples.num_outputs
    forward, parameters = torchref.instantiate(recipe, shape, num_outputs, seed=seed)
    if isinstance(forward, torch.nn.Module):
        return forward, None
    bare = recipe.model(shape, num_outputs)
    if not isinstance(bare, torchref.BareModel):
        raise TypeError(f"recipe makes {type(bare).__name__}; it must be an nn.Module or a BareModel")
    return bare.apply, parameters


def _oracles(case: Case, model: jaxnn.Model, template: Any, samples: Samples) -> dict[str, Oracle]:
    """Further JAX programs of the same network: gradients by hand, and the Flax NNX module."""
    oracles = {}
    if case.recipe in jaxnn.by_hand.HAND_GRADIENTS:
        by_hand = jaxnn.by_hand.HAND_GRADIENTS[case.recipe]
        oracles["by hand"] = Oracle(model.apply, template, by_hand)
    module = jaxnn.RECIPES[case.recipe].module
    if module is not None:
        abstract = nnx.eval_shape(
            lambda: module(samples.jax_input_shape, samples.num_outputs, rngs=nnx.Rngs(0))
        )
        oracles["flax nnx"] = Oracle(abstract)
    return oracles
