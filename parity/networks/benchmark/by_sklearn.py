"""The networks of affine layers trained by scikit-learn, in float32.

`MLPClassifier` with plain gradient descent is the same model and the same algorithm. `LogisticRegression`
(lbfgs) and `SGDClassifier` (a step per sample) fit the same model by another, whose steps are no epochs.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

import torchref
from parity.networks.benchmark.prepared_case import EPOCH, Contender, History, PreparedCase, affine_layers
from parity.numerics.arrays import in_float32

SAME_MODEL = ("logistic", "softmax", "linear", "linear_minibatch", "mlp")
"""Recipes whose layers, ReLU, outputs and mean cross entropy are those of `MLPClassifier`."""


class _Classifier(Protocol):
    """A classifier of scikit-learn, which has no types of its own."""

    def predict_proba(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]: ...


class _Task(NamedTuple):
    """What an estimator is given.

    Attributes:
        x, x_val: samples.
        y, y_val: their classes, numbers from 0.
        layers: (matrix, bias) from input to output, as `affine_layers` has them.
        rate: the learning rate.
        batch_size: samples per step; None for all.
        order: of the samples in an epoch of minibatches.
        summed: whether the recorded loss is the sum over samples.
    """

    x: Float[np.ndarray, "N D"]
    y: Int[np.ndarray, " N"]
    x_val: Float[np.ndarray, "M D"]
    y_val: Int[np.ndarray, " M"]
    layers: list[tuple[np.ndarray, np.ndarray]]
    rate: float
    batch_size: int | None
    order: np.ndarray | None
    summed: bool

    @property
    def classes(self) -> np.ndarray:
        return np.arange(max(2, len(self.layers[-1][1])))

    def record(self, history: dict[str, list[float]], estimator: _Classifier) -> None:
        """Loss and accuracy of both splits, from the probabilities that the estimator gives."""
        for split, x, y in (("train", self.x, self.y), ("val", self.x_val, self.y_val)):
            q = estimator.predict_proba(x)
            losses = -np.log(np.maximum(q[np.arange(len(y)), y], np.finfo(np.float32).tiny))
            history[f"{split}_loss"].append(losses.sum() if self.summed else losses.mean())
            history[f"{split}_accuracy"].append((q.argmax(1) == y).mean())


def sklearn_contenders(chosen: PreparedCase) -> Iterator[Contender]:
    """The contenders of scikit-learn whose model is that of a case.

    Args:
        chosen: the case.

    Returns:
        None for a case with other layers than affine ones.
    """
    recipe = chosen.case.recipe
    if recipe not in SAME_MODEL:
        return
    held = {name: in_float32(array) for name, array in chosen.samples.inputs.items()}
    labels = (held[name] for name in ("y_train", "y_val"))
    y, y_val = (a.argmax(1) if a.ndim == 2 else a.astype(np.int64) for a in labels)
    task = _Task(
        held["x_train"],
        y,
        held["x_val"],
        y_val,
        affine_layers(chosen.pair.weights),
        chosen.torch_recipe.learning_rate,
        chosen.torch_recipe.batch_size,
        chosen.order,
        chosen.torch_recipe.metrics["loss"] is torchref.losses.cross_entropy_sum,
    )

    def program(name: str, training: Callable[[_Task, int], History], note: str, per: str) -> Contender:
        return Contender(name, "sklearn", lambda epochs: lambda: training(task, epochs), note, per=per)

    yield program(
        "sklearn MLP", _mlp, "MLPClassifier, plain SGD; one more forward pass for the metrics", EPOCH
    )
    if recipe in ("logistic", "softmax"):
        note = "LogisticRegression, lbfgs, no penalty; its metrics at the end alone"
        yield program("sklearn lbfgs", _lbfgs, note, "iteration")
    if recipe == "logistic":
        note = "SGDClassifier at the recipe's rate, a step for each sample; metrics after every pass"
        yield program("sklearn SGD", _sgd, note, "pass")


def _mlp(task: _Task, epochs: int) -> History:
    from sklearn.neural_network import MLPClassifier

    x, y = task.x, task.y
    if task.order is not None:
        x, y = x[task.order], y[task.order]
    estimator = MLPClassifier(
        hidden_layer_sizes=[len(bias) for _, bias in task.layers[:-1]],
        activation="relu",
        solver="sgd",
        alpha=0.0,
        batch_size=task.batch_size or len(x),
        learning_rate_init=task.rate,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
    )
    # Weights can be given only to an estimator that has some: it makes its own in the first call, on a
    # single sample, which the case's weights replace. Without momentum nothing else is left of that call.
    estimator.set_params(batch_size=1).partial_fit(x[:1], y[:1], classes=task.classes)
    estimator.set_params(batch_size=task.batch_size or len(x))
    for number, (matrix, bias) in enumerate(task.layers):
        estimator.coefs_[number][...] = matrix.T
        estimator.intercepts_[number][...] = bias
    history: dict[str, list[float]] = defaultdict(list)
    for _ in range(epochs):
        if task.batch_size is None:  # full batches: the metrics before the update
            task.record(history, estimator)
        estimator.partial_fit(x, y)
        if task.batch_size is not None:
            task.record(history, estimator)
    return _stacked(history)


def _lbfgs(task: _Task, epochs: int) -> History:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # An infinite C is no penalty; a warm start begins at `coef_` and `intercept_`.
    estimator = LogisticRegression(C=np.inf, tol=0.0, max_iter=epochs, warm_start=True)
    ((matrix, bias),) = task.layers
    estimator.coef_, estimator.intercept_ = matrix.copy(), bias.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # that it stops early is meant
        estimator.fit(task.x, task.y)
    history: dict[str, list[float]] = defaultdict(list)
    task.record(history, estimator)
    return _stacked(history) | {"iterations": max(1, int(np.max(estimator.n_iter_)))}


def _sgd(task: _Task, epochs: int) -> History:
    from sklearn.linear_model import SGDClassifier

    estimator = SGDClassifier(
        loss="log_loss", penalty=None, learning_rate="constant", eta0=task.rate, shuffle=False
    )
    estimator.partial_fit(task.x[:1], task.y[:1], classes=task.classes)  # as above: to have weights
    ((matrix, bias),) = task.layers
    estimator.coef_[...], estimator.intercept_[...] = matrix, bias
    history: dict[str, list[float]] = defaultdict(list)
    for _ in range(epochs):
        estimator.partial_fit(task.x, task.y)
        task.record(history, estimator)
    return _stacked(history)


def _stacked(history: dict[str, list[float]]) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in history.items()}
