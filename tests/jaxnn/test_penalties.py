import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from jaxnn import losses, models, penalties

PARAMS = {
    "dense_0": {"kernel": jnp.array([[1.0, -2.0], [0.0, 3.0]]), "bias": jnp.array([10.0, -20.0])},
    "dense_1": {"kernel": jnp.array([[-4.0]]), "bias": jnp.array([30.0])},
}
L1 = {False: 1 + 2 + 3 + 4, True: 1 + 2 + 3 + 4 + 10 + 20 + 30}
L2 = {False: 1 + 4 + 9 + 16, True: 1 + 4 + 9 + 16 + 100 + 400 + 900}


@pytest.mark.parametrize("biases", [False, True])
def test_values_by_hand(biases):
    assert penalties.l1(PARAMS, 0.5, biases=biases) == 0.5 * L1[biases]
    assert penalties.l2(PARAMS, 0.25, biases=biases) == 0.25 * L2[biases]


@pytest.mark.parametrize("biases", [False, True])
def test_gradients_by_hand(biases):
    l1 = jax.grad(lambda p: penalties.l1(p, 0.5, biases=biases))(PARAMS)
    l2 = jax.grad(lambda p: penalties.l2(p, 0.25, biases=biases))(PARAMS)
    for layer, leaves in PARAMS.items():
        for name, leaf in leaves.items():
            counts = biases or name == "kernel"
            np.testing.assert_array_equal(l1[layer][name], counts * 0.5 * np.sign(leaf))  # 0 at 0
            np.testing.assert_array_equal(l2[layer][name], counts * 0.5 * np.asarray(leaf))


@pytest.mark.parametrize("penalty", [penalties.l1, penalties.l2])
def test_only_biases_are_nothing_to_penalise(penalty):
    with pytest.raises(ValueError, match="`params` has no weight"):
        penalty({"bias": jnp.ones(2)}, 1.0, biases=False)
    assert penalty(jnp.ones(2), 1.0, biases=False) == 2.0  # a bare array is a weight


def fitted(optimizer, penalty=None):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 4)), rng.integers(0, 3, 9)
    model = models.mlp((4, 5, 3))
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer power
        return jaxnn.fit(
            model.apply,
            model.init(jax.random.key(0), jnp.float64),
            (x, y),
            (x, y),
            loss=losses.cross_entropy,
            metrics={"loss": losses.cross_entropy},
            optimizer=optimizer,
            learning_rate=0.1,
            epochs=3,
            batch_size=4,
            penalty=penalty,
        )


def decayed(rule):
    return lambda rate: optax.chain(optax.add_decayed_weights(0.2), rule(rate))


def test_under_sgd_l2_is_a_weight_decay_of_twice_the_factor(x64, assert_rounding):
    penalised = fitted(optax.sgd, functools.partial(penalties.l2, factor=0.1, biases=True))
    assert_rounding(actual=penalised.params, expected=fitted(decayed(optax.sgd)).params)
    half = fitted(optax.sgd, functools.partial(penalties.l2, factor=0.2, biases=True))
    gap = np.abs(half.params["dense_0"]["kernel"] - penalised.params["dense_0"]["kernel"]).max()
    assert gap > 1e-3  # and not of the factor itself


def test_under_adam_it_is_the_coupled_decay_and_not_that_of_adamw(x64, assert_rounding):
    penalised = fitted(optax.adam, functools.partial(penalties.l2, factor=0.1, biases=True))
    assert_rounding(actual=penalised.params, expected=fitted(decayed(optax.adam)).params)
    decoupled = fitted(functools.partial(optax.adamw, weight_decay=0.2))
    gap = np.abs(decoupled.params["dense_0"]["kernel"] - penalised.params["dense_0"]["kernel"]).max()
    assert gap > 1e-3


def test_a_penalty_is_in_the_loss_of_the_steps_and_in_no_metric(x64):
    penalty = functools.partial(penalties.l1, factor=0.1, biases=False)
    penalised, plain = fitted(optax.sgd, penalty), fitted(optax.sgd)
    start = models.mlp((4, 5, 3)).init(jax.random.key(0), jnp.float64)
    first = penalised.history["step_loss"][0, 0] - plain.history["step_loss"][0, 0]
    assert float(first) == pytest.approx(float(penalty(start)), rel=1e-13)


def test_matrices_that_are_stored_turned_are_penalised_as_they_are(x64, assert_rounding):
    """A penalty that looks at the orientation of a matrix, by rows."""

    def by_rows(params):
        return jnp.square(params["dense_0"]["kernel"][0]).sum()

    assert models.mlp((4, 5, 3)).init(jax.random.key(0))["dense_0"]["kernel"].shape == (4, 5)
    before = fitted(lambda rate: optax.sgd(0.0), by_rows)
    start = models.mlp((4, 5, 3)).init(jax.random.key(0), jnp.float64)
    plain = fitted(lambda rate: optax.sgd(0.0))
    found = before.history["step_loss"][0, 0] - plain.history["step_loss"][0, 0]
    assert float(found) == pytest.approx(float(by_rows(start)), rel=1e-12)
