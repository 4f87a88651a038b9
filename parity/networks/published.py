"""The notebook's published results and new ones: every experiment again, in both frameworks, over seeds."""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
import torchref
from data import batches
from experiments import EXPERIMENTS
from parity.networks.drawing import draw
from parity.networks.network_training import to_nhwc
from parity.networks.samples import Samples, load_samples
from parity.numerics.arrays import to_jax, to_torch
from parity.numerics.precision import pinned, running
from parity.numerics.progress import Progress
from parity.pipeline.pairs import match
from parity.pipeline.request import Weights

TRAIN_TOLERANCE = 0.03
VAL_TOLERANCE = 0.04
"""Allowed distance of the median accuracy from the published one: the notebook's weights were random and
its order of images unknown, and its figures are read off plots to about 0.01."""


READING_ERROR = 0.01
"""How far a published accuracy may be off, since it was read off a figure."""


class Result(NamedTuple):
    """What a run ends with.

    Attributes:
        train_loss: of the training samples, as the recipe reports it.
        train_accuracy: in [0, 1].
        val_loss: of the validation samples.
        val_accuracy: in [0, 1].
    """

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


class PublishedRow(NamedTuple):
    """One row of the notebook's results.

    Attributes:
        title: what the notebook calls it.
        recipe: the recipe that repeats it.
        data: the data set.
        epochs: passes through the data, as published.
        learning_rate: step size, as published.
        published: the notebook's figures; None for a row that it does not have.
        num_seeds: runs that are needed to say something.
        within: whether the medians must come close; otherwise the published accuracies must lie in the
            range of the seeds. None: shown only.
    """

    title: str
    recipe: str
    data: str
    epochs: int
    learning_rate: float
    published: Result | None
    num_seeds: int = 5
    within: bool | None = True


def _row(
    title: str,
    recipe: str,
    published: Result | None,
    *,
    data: str = "sign-digits",
    run: int = 0,
    num_seeds: int = 5,
    within: bool | None = True,
) -> PublishedRow:
    """One of the pairs (epochs, learning rate) that the notebook ran an experiment with."""
    epochs, learning_rate = EXPERIMENTS[recipe].runs[run]
    return PublishedRow(title, recipe, data, epochs, learning_rate, published, num_seeds, within)


PUBLISHED = (
    _row("logistic", "logistic", Result(0.035, 1.00, 0.13, 0.964)),
    _row("softmax (summed loss)", "softmax", Result(900, 0.865, 335, 0.738)),
    _row(
        "two-layer, as printed",
        "two_layer_as_printed",
        Result(0.617, 0.823, 0.631, 0.818),
        num_seeds=10,
        within=False,
    ),
    _row("two-layer as coded, right gradient", "two_layer_as_coded", None, num_seeds=10, within=None),
    _row("two-layer, true tanh", "two_layer_tanh", None, num_seeds=10, within=None),
    _row("softmax by autograd", "softmax_mean_all", Result(0.060, 0.838, 0.085, 0.720)),
    _row("softmax as a module", "softmax_module", Result(0.059, 0.852, 0.087, 0.738)),
    _row("linear + cross entropy", "linear", Result(0.41, 0.902, 0.74, 0.777)),
    _row("the same, minibatches", "linear_minibatch", Result(0.075, 1.00, 0.84, 0.770)),
    _row("sequential 200-50-20", "mlp", Result(0.02, 1.00, 1.02, 0.794)),
    _row(
        "two-layer, as printed",
        "two_layer_as_printed",
        Result(0.676, 0.578, 0.685, 0.553),
        data="dogs-cats",
        run=1,
        within=None,
    ),
    _row(
        "two-layer, as printed",
        "two_layer_as_printed",
        Result(0.679, 0.565, 0.686, 0.551),
        data="dogs-cats",
        run=2,
        within=None,
    ),
)
"""The notebook's rows in its order; the cats and dogs were 25000 photographs there."""


class Rerun(NamedTuple):
    """A published row with new results in both frameworks.

    Attributes:
        row: what was repeated.
        torch: PyTorch's results, one per seed.
        jax: JAX's, from the same weights.
    """

    row: PublishedRow
    torch: tuple[Result, ...]
    jax: tuple[Result, ...]

    @property
    def agrees(self) -> bool | None:
        """Whether both frameworks land where the notebook did; None where that is not required."""
        row = self.row
        if row.published is None or row.within is None:
            return None
        return all(_lands(runs, row.published, row.within) for runs in (self.torch, self.jax))

    @staticmethod
    def median(runs: Sequence[Result]) -> Result:
        """The median of each figure over the seeds.

        Args:
            runs: one result per seed, at least one.
        """
        return Result(*(statistics.median(column) for column in zip(*runs, strict=True)))


def _lands(runs: Sequence[Result], published: Result, within: bool) -> bool:
    if within:
        middle = Rerun.median(runs)
        return (
            abs(middle.train_accuracy - published.train_accuracy) <= TRAIN_TOLERANCE
            and abs(middle.val_accuracy - published.val_accuracy) <= VAL_TOLERANCE
        )
    columns = ([r.train_accuracy for r in runs], [r.val_accuracy for r in runs])
    targets = (published.train_accuracy, published.val_accuracy)
    return all(
        min(column) - READING_ERROR <= target <= max(column) + READING_ERROR
        for column, target in zip(columns, targets, strict=True)
    )


def rerun(row: PublishedRow, *, num_seeds: int | None = None, progress: Progress) -> Rerun:
    """Train a published row in full, in float32, from the same weights in both frameworks.

    Args:
        row: one of `PUBLISHED`.
        num_seeds: runs; None for the row's own number.
        progress: called with a short description as each phase begins.

    Raises:
        ValueError: if the data set is not prepared.
    """
    recipe = torchref.RECIPES[row.recipe]
    samples = load_samples(row.data, labels=recipe.labels, images=recipe.images)
    seeds = range(num_seeds or row.num_seeds)
    with pinned():
        torch_runs = []
        for seed in seeds:
            progress(f"PyTorch, seed {seed + 1} of {len(seeds)}")
            torch_runs.append(_torch_run(row, samples, seed))
        progress(f"JAX, {len(seeds)} seeds in one program")
        return Rerun(row, tuple(torch_runs), tuple(_jax_runs(row, samples, seeds)))


def _order(row: PublishedRow, samples: Samples) -> np.ndarray | None:
    batch_size = torchref.RECIPES[row.recipe].batch_size
    return batches.order(len(samples.inputs["x_train"]))[0] if batch_size else None


def _torch_run(row: PublishedRow, samples: Samples, seed: int) -> Result:
    recipe = torchref.RECIPES[row.recipe]
    forward, parameters = torchref.instantiate(recipe, samples.input_shape, samples.num_outputs, seed=seed)
    given = {name: to_torch(array, "float32") for name, array in samples.inputs.items()}
    history = torchref.fit(
        forward,
        parameters,
        (given["x_train"], given["y_train"]),
        (given["x_val"], given["y_val"]),
        loss=recipe.loss,
        metrics=recipe.metrics,
        optimizer=recipe.optimizer,
        learning_rate=row.learning_rate,
        epochs=row.epochs,
        batch_size=recipe.batch_size,
        order=_order(row, samples),
    )
    return Result(*(float(history[name][-1]) for name in Result._fields))


def _jax_runs(row: PublishedRow, samples: Samples, seeds: Sequence[int]) -> Iterator[Result]:
    recipe = jaxnn.RECIPES[row.recipe]
    model = recipe.model(samples.jax_input_shape, samples.num_outputs)
    template = jax.eval_shape(model.init, jax.random.key(0))
    starts = []
    for seed in seeds:
        network, tensors = draw(torchref.RECIPES[row.recipe], samples, seed)
        pair = match(network, model.apply, Weights(template=template, reference_params=tensors))
        starts.append(pair.plan.to_leaves(pair.weights))
    with running("float32"):
        leaves = {path: to_jax(np.stack([s[path] for s in starts]), "float32") for path in starts[0]}
        given = {name: to_jax(to_nhwc(a, name), "float32") for name, a in samples.inputs.items()}
        fitted = jaxnn.sweep(
            model.apply,
            pair.candidate.tree.build(leaves),
            (given["x_train"], given["y_train"]),
            (given["x_val"], given["y_val"]),
            learning_rates=[row.learning_rate],
            loss=recipe.loss,
            metrics=recipe.metrics,
            optimizer=recipe.optimizer,
            epochs=row.epochs,
            batch_size=recipe.batch_size,
            order=_order(row, samples),
        )
        last = {name: jnp.asarray(fitted.history[name])[:, -1] for name in Result._fields}
    for i in range(len(seeds)):
        yield Result(*(float(last[name][i]) for name in Result._fields))
