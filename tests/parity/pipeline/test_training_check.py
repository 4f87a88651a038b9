"""Steps and curves: right trainings agree; each planted fault is named at its leaf or its step."""

from typing import Any

import numpy as np
import optax
import pytest

import jaxnn
import parity
import torchref
from parity.networks.drawing import draw
from parity.networks.network_training import decided_by, jax_training, torch_training
from parity.networks.samples import Samples
from parity.numerics.noise import Subject
from parity.pipeline.pairs import Pair, match
from parity.report.results import Verdict
from tests.kit.errors import told

EPOCHS, NUM_TRAIN, NUM_FEATURES, NUM_CLASSES = 3, 41, 12, 4


def samples_for(labels: str) -> Samples:
    rng = np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    for split, count in (("train", NUM_TRAIN), ("val", 13)):
        inputs[f"x_{split}"] = rng.standard_normal((count, NUM_FEATURES)).astype(np.float32).astype(float)
        index = rng.integers(0, 2 if labels == "binary" else NUM_CLASSES, count)
        inputs[f"y_{split}"] = index.astype(float) if labels == "binary" else index
    return Samples(inputs, (NUM_FEATURES,), NUM_CLASSES)


def compare(
    name: str,
    *,
    jax_recipe: dict[str, Any] | None = None,
    jax_order: Any = None,
    epochs: int = EPOCHS,
    jax_epochs: int | None = None,
    learning_rate: float | None = None,
    dtypes: Any = ("float64", "float32"),
    pair: Pair | None = None,
) -> parity.Report:
    """Train a small network of the ladder in both frameworks, with one thing changed on the JAX side."""
    ours, theirs = torchref.RECIPES[name], jaxnn.RECIPES[name]
    if ours.batch_size:
        ours, theirs = ours._replace(batch_size=16), theirs._replace(batch_size=16)
    theirs = theirs._replace(**(jax_recipe or {}))
    samples = samples_for(ours.labels)
    order = np.random.default_rng(1).permutation(NUM_TRAIN) if ours.batch_size else None
    rate = learning_rate or ours.learning_rate
    pair = pair or small_pair(name)
    how: dict[str, Any] = {"device": "cpu", "learning_rate": rate}
    torch_order = order
    jax_order = jax_order(order) if jax_order else order
    return parity.check_training(
        Subject(torch_training(pair, ours, order=torch_order, epochs=epochs, **how), pair.weights),
        Subject(
            jax_training(pair, theirs, order=jax_order, epochs=jax_epochs or epochs, **how),
            pair.candidate_weights,
        ),
        samples.inputs,
        decided_by=decided_by(ours.labels),
        settings=parity.Settings(dtypes=dtypes),
    )


def small_pair(name: str) -> Pair:
    import jax

    samples = samples_for(torchref.RECIPES[name].labels)
    model = jaxnn.RECIPES[name].model(samples.input_shape, NUM_CLASSES)
    network, tensors = draw(torchref.RECIPES[name], samples, seed=0)
    template = jax.eval_shape(model.init, jax.random.key(0))
    return match(network, model.apply, parity.Weights(template=template, reference_params=tensors))


@pytest.mark.parametrize("name", ["logistic", "two_layer_tanh", "linear", "linear_minibatch", "mlp"])
def test_right_trainings_agree(name: str) -> None:
    report = compare(name)
    assert report.verdict is Verdict.PASS, str(report)
    curves = {q.name for q in report.select("curve", "float64")}
    assert {"train_loss", "val_loss", "train_accuracy", "val_accuracy", "step_loss"} <= curves
    assert report.select("step", "float64")


def test_wrong_rate_of_one_group_is_named_in_the_step() -> None:
    report = compare("two_layer_tanh", jax_recipe={"optimizer": optax.sgd}, dtypes=["float64"])
    faults = report.failures("step")
    assert {q.name for q in faults} == {"W1", "b1"}
    assert all(any("JAX = 10 x PyTorch" in note for note in q.notes) for q in faults)
    assert report.failures("curve")


def test_swapped_batches_are_named_at_their_step() -> None:
    def swap(order: Any) -> Any:
        return np.concatenate([order[:16], order[16:][::-1]])  # the second batch gets the third's samples

    report = compare("linear_minibatch", jax_order=swap, dtypes=["float64"])
    assert report.failures("step") == ()
    (fault,) = (q for q in report.failures("curve") if q.name == "step_loss")
    assert fault.curve is not None
    assert fault.curve.first_failure == 1


def test_a_schedule_that_starts_late_is_named_at_its_step() -> None:
    def late(learning_rate: Any) -> optax.GradientTransformation:
        return optax.sgd(optax.piecewise_constant_schedule(learning_rate, {4: 0.5}))

    report = compare("linear_minibatch", jax_recipe={"optimizer": late}, dtypes=["float64"])
    assert report.failures("step") == ()
    (fault,) = (q for q in report.failures("curve") if q.name == "step_loss")
    assert fault.curve is not None
    assert fault.curve.first_failure == 5  # update 4 is the first halved one: seen by the loss of step 5


def test_wrong_reduction_in_the_loss_fails_the_step_with_the_factor() -> None:
    report = compare(
        "linear_minibatch", jax_recipe={"loss": jaxnn.losses.cross_entropy_sum}, dtypes=["float64"]
    )
    assert {q.name for q in report.failures("step")} == {"weight", "bias"}
    assert all(any("JAX = 16 x" in note for note in q.notes) for q in report.failures("step"))


def test_nan_from_a_step_on_is_named() -> None:
    import jax.numpy as jnp

    def breaks(learning_rate: Any) -> optax.GradientTransformation:
        return optax.sgd(lambda count: jnp.where(count == 3, jnp.nan, learning_rate))

    report = compare("linear_minibatch", jax_recipe={"optimizer": breaks}, dtypes=["float32"])
    (fault,) = (q for q in report.failures("curve") if q.name == "step_loss")
    assert fault.curve is not None
    assert fault.curve.first_failure == 4
    assert "NaN or infinity on the JAX side from point 4 on" in fault.notes


def test_metrics_recorded_at_another_time_fail_the_curve_and_not_the_step() -> None:
    # A full batch as one minibatch of everything: the same updates, recorded after instead of before.
    report = compare("linear", jax_recipe={"batch_size": NUM_TRAIN}, dtypes=["float64"])
    assert report.failures("step") == ()
    names = {q.name for q in report.failures("curve")}
    assert {"train_loss", "val_loss"} <= names
    assert "step_loss" not in names


def test_another_number_of_epochs_is_a_failure_of_shape() -> None:
    report = compare("linear", jax_epochs=2, dtypes=["float64"])
    (fault,) = (q for q in report.failures("curve") if q.name == "train_loss")
    assert "shapes" in fault.notes[0]


def test_chaos_is_inconclusive_from_its_horizon_and_never_a_pass() -> None:
    report = compare("mlp", learning_rate=3.0, epochs=40, dtypes=["float32"])
    assert report.verdict is Verdict.INCONCLUSIVE
    (loss,) = (q for q in report.select("curve") if q.name == "train_loss")
    assert loss.curve is not None
    assert loss.curve.first_failure is None
    assert loss.curve.horizon is not None
    assert loss.curve.horizon > 0
    assert max(loss.curve.rho) <= 10  # the frameworks part, but no further than noise alone would part them


def test_a_training_that_raises_is_an_error() -> None:
    with pytest.raises(TypeError, match="scalar") as caught:
        compare("linear", jax_recipe={"loss": lambda logits, labels: logits})
    assert "raised by the JAX model training in float64" in told(caught.value)


@pytest.mark.parametrize("groups", [{}, {"updates": {"w": np.zeros(1)}}, {"updates": {}, "curve": {}}])
def test_a_training_that_returns_nothing_to_compare_is_an_error(groups: dict[str, Any]) -> None:
    subject = Subject(lambda weights, inputs, dtype: groups, {"w": np.zeros(1)})
    with pytest.raises(ValueError, match="'updates' and 'curve'"):
        parity.check_training(subject, subject, {})
