"""The recipes: the table, networks from a seed, and a few epochs of each."""

import numpy as np
import pytest
import torch
from torch import nn

from experiments import EXPERIMENTS
from torchref import RECIPES, BareModel, fit, instantiate, losses, metrics

FULL, BATCHES = None, 64

# The table of the issue: epochs, rate, batch size, form of labels.
TABLE = {
    "logistic": (400, 0.05, FULL, "binary"),
    "softmax": (300, 0.1, FULL, "one_hot"),
    "two_layer_tanh": (10000, 0.001, FULL, "binary"),
    "two_layer_as_coded": (10000, 0.001, FULL, "binary"),
    "two_layer_as_printed": (10000, 0.001, FULL, "binary"),
    "softmax_mean_all": (500, 0.5, FULL, "one_hot"),
    "softmax_module": (500, 0.5, FULL, "one_hot"),
    "linear": (500, 0.1, FULL, "index"),
    "linear_minibatch": (200, 0.1, BATCHES, "index"),
    "mlp": (300, 0.01, BATCHES, "index"),
    "cnn": (2500, 0.1, BATCHES, "index"),
    "cnn_global_pool": (2500, 0.1, BATCHES, "index"),
    "regression": (200, 0.05, BATCHES, "real"),
    "linear_adam": (200, 0.001, BATCHES, "index"),
    "linear_exponential": (200, 0.001, BATCHES, "index"),
    "linear_early_stop": (200, 0.005, BATCHES, "index"),
    "mlp_dropout": (300, 0.1, BATCHES, "index"),
    "mlp_l1": (300, 0.01, BATCHES, "index"),
    "mlp_l2": (300, 0.01, BATCHES, "index"),
    "cnn_dropout": (2500, 0.1, BATCHES, "index"),
    "cnn_augmented": (2500, 0.1, BATCHES, "index"),
}

TWO_LAYER = ("two_layer_tanh", "two_layer_as_coded", "two_layer_as_printed")
BARE = ("logistic", "softmax", *TWO_LAYER, "softmax_mean_all")

SHAPES = {
    "logistic": {"w": (4096,), "b": (1,)},
    "softmax": {"W": (10, 4096), "b": (10,)},
    "two_layer_tanh": {"W1": (5, 4096), "b1": (5,), "w2": (5,), "b2": (1,)},
    "two_layer_as_coded": {"W1": (5, 4096), "b1": (5,), "w2": (5,), "b2": (1,)},
    "two_layer_as_printed": {"W1": (5, 4096), "b1": (5,), "w2": (5,), "b2": (1,)},
    "softmax_mean_all": {"W": (4096, 10), "b": (10,)},
    "softmax_module": {"W": (4096, 10), "b": (10,)},
    "linear": {"weight": (10, 4096), "bias": (10,)},
    "linear_minibatch": {"weight": (10, 4096), "bias": (10,)},
    "mlp": {
        "0.weight": (200, 4096),
        "0.bias": (200,),
        "2.weight": (50, 200),
        "2.bias": (50,),
        "4.weight": (20, 50),
        "4.bias": (20,),
        "6.weight": (10, 20),
        "6.bias": (10,),
    },
    "cnn": {
        "0.weight": (16, 1, 3, 3),
        "0.bias": (16,),
        "2.weight": (16, 16, 3, 3),
        "2.bias": (16,),
        "4.weight": (10, 16, 3, 3),
        "4.bias": (10,),
    },
    "regression": {"0.weight": (20, 4096), "0.bias": (20,), "2.weight": (1, 20), "2.bias": (1,)},
}
SHAPES["cnn_global_pool"] = SHAPES["cnn"]
ADAM = ("linear_adam", "linear_exponential", "linear_early_stop")
SHAPES |= dict.fromkeys(ADAM, SHAPES["linear"])
SHAPES |= dict.fromkeys(("mlp_l1", "mlp_l2"), SHAPES["mlp"])


def _renamed(name: str, names: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """The shapes of a network whose layers have other numbers."""
    split = ((key.split("."), shape) for key, shape in SHAPES[name].items())
    return {f"{names[layer]}.{kind}": shape for (layer, kind), shape in split}


# Behind each ReLU stands a dropout, too.
SHAPES["mlp_dropout"] = _renamed("mlp", {"0": "0", "2": "3", "4": "6", "6": "9"})
SHAPES["cnn_dropout"] = _renamed("cnn", {"0": "0", "2": "3", "4": "6"})
SHAPES["cnn_augmented"] = _renamed("cnn", {layer: f"network.{layer}" for layer in "024"})

DESCENT = [name for name, e in EXPERIMENTS.items() if e.optimizer != "adam"]
"""Recipes whose steps are the rate times the gradient."""


def input_shape(name: str) -> tuple[int, ...]:
    return (1, 64, 64) if RECIPES[name].images else (4096,)


def num_outputs(name: str) -> int:
    return 1 if RECIPES[name].labels in ("binary", "real") else 10


def inputs(name: str, num_samples: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = np.random.default_rng(1).uniform(size=(num_samples, *input_shape(name)))
    return torch.tensor(x if RECIPES[name].images else x - 0.5, dtype=dtype)


def test_the_table() -> None:
    rows = {name: (r.epochs, r.learning_rate, r.batch_size, r.labels) for name, r in RECIPES.items()}
    assert rows == TABLE
    assert list(rows) == list(TABLE)
    assert all(r.images == ("cnn" in name) for name, r in RECIPES.items())
    also = {name: r.also for name, r in RECIPES.items() if r.also}
    assert also == dict.fromkeys(TWO_LAYER, ((5000, 0.05), (500, 0.5)))


def test_losses_and_metrics() -> None:
    for name, recipe in RECIPES.items():
        assert list(recipe.metrics) == ["loss", "r_squared" if name == "regression" else "accuracy"]
        reported = losses.cross_entropy_sum if name == "softmax" else recipe.loss
        assert recipe.metrics["loss"] is reported
    assert RECIPES["softmax"].loss is losses.cross_entropy
    assert RECIPES["softmax_mean_all"].loss is losses.cross_entropy_mean_all
    assert RECIPES["regression"].metrics["r_squared"] is metrics.r_squared


def test_the_table_is_read_only() -> None:
    with pytest.raises(TypeError):
        RECIPES["mine"] = RECIPES["linear"]  # type: ignore[index]


@pytest.mark.parametrize("name", RECIPES)
def test_kind_of_model(name: str) -> None:
    model = RECIPES[name].model(input_shape(name), num_outputs(name))
    assert isinstance(model, BareModel if name in BARE else nn.Module)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RECIPES)
def test_instantiate(name: str, dtype: torch.dtype) -> None:
    recipe = RECIPES[name]
    forward, parameters = instantiate(recipe, input_shape(name), num_outputs(name), seed=0, dtype=dtype)
    assert {key: tuple(p.shape) for key, p in parameters.items()} == SHAPES[name]
    assert all(p.dtype == dtype and p.is_leaf and p.requires_grad for p in parameters.values())
    logits = forward(inputs(name, 3, dtype))
    assert logits.dtype == dtype
    expected = {"logistic": (3,), "cnn": (3, 40), "regression": (3,)} | dict.fromkeys(TWO_LAYER, (3,))
    assert logits.shape == expected.get(name, (3, 10))
    assert all(p.grad is not None for p in _after_backward(logits, parameters).values())


def _after_backward(logits: torch.Tensor, parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    logits.sum().backward()  # `forward` must use these very tensors
    return parameters


@pytest.mark.parametrize("name", RECIPES)
def test_same_seed_same_bits_and_the_global_state_untouched(name: str) -> None:
    def draw(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        _, parameters = instantiate(
            RECIPES[name], input_shape(name), num_outputs(name), seed=seed, dtype=dtype
        )
        return parameters

    before = torch.get_rng_state()
    first = draw(3)
    torch.rand(1)  # whatever happens between
    again, other, wide = draw(3), draw(4), draw(3, torch.float64)
    torch.set_rng_state(before)
    draw(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert all(torch.equal(first[key].double(), wide[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if first[key].any())


def test_the_global_state_is_restored_after_an_exception() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="Flatten the inputs"):
        instantiate(RECIPES["mlp"], (1, 64, 64), 10, seed=0)
    with pytest.raises(ValueError, match="channels, height, width"):
        instantiate(RECIPES["cnn"], (4096,), 10, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", DESCENT)
def test_one_step_is_minus_rate_times_gradient(name: str) -> None:
    recipe = RECIPES[name]
    forward, parameters = instantiate(
        recipe, input_shape(name), num_outputs(name), seed=2, dtype=torch.float64
    )
    x, y = inputs(name, 5, torch.float64), _labels(recipe.labels, 5)
    before = {key: p.detach().clone() for key, p in parameters.items()}
    value = recipe.loss(forward(x), y)
    if recipe.penalty is not None:
        value = value + recipe.penalty(parameters)
    grads = torch.autograd.grad(value, list(parameters.values()))
    _run(recipe, forward, parameters, x, y, epochs=1)
    for (key, p), grad in zip(parameters.items(), grads, strict=True):
        rate = recipe.learning_rate / (10 if key in ("W1", "b1") else 1)
        torch.testing.assert_close(p.detach(), before[key] - rate * grad, rtol=1e-14, atol=1e-15)
        assert grad.any()


@pytest.mark.parametrize("name", RECIPES)
def test_a_few_small_steps_lower_the_loss(name: str) -> None:
    recipe = RECIPES[name]
    # float64: the smallest of these steps would drown in the rounding of float32
    forward, parameters = instantiate(
        recipe, input_shape(name), num_outputs(name), seed=2, dtype=torch.float64
    )
    recipe = recipe._replace(learning_rate=recipe.learning_rate / 20)
    x, y = inputs(name, 10, torch.float64), _labels(recipe.labels, 10)
    history = _run(recipe, forward, parameters, x, y, epochs=3)
    assert history["train_loss"][2] < history["train_loss"][1] < history["train_loss"][0]


def _labels(form: str, num_samples: int) -> torch.Tensor:
    classes = torch.arange(num_samples) * 7 % 10
    return {
        "binary": classes % 2,
        "one_hot": torch.eye(10)[classes],
        "index": classes,
        "real": classes / 10,
    }[form]


def _run(recipe, forward, parameters, x, y, epochs: int) -> dict[str, torch.Tensor]:
    return fit(
        forward,
        parameters,
        (x, y),
        (x, y),
        loss=recipe.loss,
        metrics=recipe.metrics,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        penalty=recipe.penalty,
        learning_rate=recipe.learning_rate,
        epochs=epochs,
        batch_size=recipe.batch_size,
    )
