"""The numbers of the experiments, and that nothing but the standard library is imported for them."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments import EXPERIMENTS

TWO_LAYER = ("two_layer_tanh", "two_layer_as_coded", "two_layer_as_printed")

# (section, epochs, rate, batch size, labels, hidden) from the notebook and the list of its lost cells.
NOTEBOOK = {
    "logistic": ("3.1.5", 400, 0.05, None, "binary", ()),
    "softmax": ("3.2.5", 300, 0.1, None, "one_hot", ()),
    **dict.fromkeys(TWO_LAYER, ("3.3.3", 10000, 0.001, None, "binary", (5,))),
    "softmax_mean_all": ("4.4.1", 500, 0.5, None, "one_hot", ()),
    "softmax_module": ("4.4.2", 500, 0.5, None, "one_hot", ()),
    "linear": ("4.4.2", 500, 0.1, None, "index", ()),
    "linear_minibatch": ("4.4.3", 200, 0.1, 64, "index", ()),
    "mlp": ("4.4.4", 300, 0.01, 64, "index", (200, 50, 20)),
    "cnn": ("4.6", 2500, 0.1, 64, "index", (16, 16)),
    "cnn_global_pool": ("4.6", 2500, 0.1, 64, "index", (16, 16)),
    "regression": ("3.5", 200, 0.05, 64, "real", (20,)),
}


def test_the_numbers_are_those_of_the_notebook_in_its_order() -> None:
    found = {
        name: (e.section, e.epochs, e.learning_rate, e.batch_size, e.labels, e.hidden)
        for name, e in EXPERIMENTS.items()
    }
    assert found == NOTEBOOK
    assert list(found) == list(NOTEBOOK)
    assert {name for name, e in EXPERIMENTS.items() if e.images} == {"cnn", "cnn_global_pool"}


def test_other_runs_of_the_two_layer_network() -> None:
    also = {name: e.also for name, e in EXPERIMENTS.items() if e.also}
    assert also == dict.fromkeys(TWO_LAYER, ((5000, 0.05), (500, 0.5)))
    assert EXPERIMENTS["two_layer_tanh"].runs == ((10000, 0.001), (5000, 0.05), (500, 0.5))
    assert EXPERIMENTS["linear"].runs == ((500, 0.1),)


def test_nothing_can_be_changed() -> None:
    with pytest.raises(TypeError):
        EXPERIMENTS["mine"] = EXPERIMENTS["linear"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        EXPERIMENTS["linear"].epochs = 1  # type: ignore[misc]


def test_only_the_standard_library_is_imported() -> None:
    program = (
        "import sys; before = set(sys.modules); import experiments; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(experiments.__file__).parents[1],
    )
    assert done.stdout.strip() == "['experiments']"
