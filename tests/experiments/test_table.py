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

# What the notebook leaves to its readers; the rates are this project's.
FURTHER = {
    "linear_adam": ("4.4.3", 200, 0.001, 64, "index", ()),
    "linear_exponential": ("4.4.3", 200, 0.001, 64, "index", ()),
    "linear_early_stop": ("4.5", 200, 0.005, 64, "index", ()),
    "mlp_dropout": ("4.5", 300, 0.1, 64, "index", (200, 50, 20)),
    "mlp_l1": ("4.5", 300, 0.01, 64, "index", (200, 50, 20)),
    "mlp_l2": ("4.5", 300, 0.01, 64, "index", (200, 50, 20)),
    "cnn_dropout": ("4.5", 2500, 0.1, 64, "index", (16, 16)),
    "cnn_augmented": ("4.5", 2500, 0.1, 64, "index", (16, 16)),
}


def test_the_numbers_are_those_of_the_notebook_in_its_order() -> None:
    found = {
        name: (e.section, e.epochs, e.learning_rate, e.batch_size, e.labels, e.hidden)
        for name, e in EXPERIMENTS.items()
    }
    assert found == NOTEBOOK | FURTHER
    assert list(found) == [*NOTEBOOK, *FURTHER]
    assert {name for name, e in EXPERIMENTS.items() if e.images} == {name for name in found if "cnn" in name}


def test_what_is_further_is_not_run_by_default_and_trains_a_network_of_the_notebook() -> None:
    assert {name for name, e in EXPERIMENTS.items() if not e.by_default} == set(FURTHER)
    for name in FURTHER:
        network = EXPERIMENTS[name].network
        assert network in NOTEBOOK
        assert EXPERIMENTS[name].hidden == EXPERIMENTS[network].hidden


FIELDS = ("optimizer", "decay", "dropout_rate", "l1", "l2", "augmented", "patience", "min_delta")


def test_what_each_further_experiment_adds() -> None:
    added = {
        "linear_adam": {"optimizer": "adam"},
        "linear_exponential": {"optimizer": "adam", "decay": 0.95},
        "linear_early_stop": {"optimizer": "adam", "patience": 3, "min_delta": 0.001},
        "mlp_dropout": {"dropout_rate": 0.5},
        "mlp_l1": {"l1": 0.0001},
        "mlp_l2": {"l2": 0.001},
        "cnn_dropout": {"dropout_rate": 0.25},
        "cnn_augmented": {"augmented": True},
    }
    plain = EXPERIMENTS["linear"]
    for name, e in EXPERIMENTS.items():
        found = {
            field: getattr(e, field)
            for field in (
                "optimizer",
                "decay",
                "dropout_rate",
                "l1",
                "l2",
                "augmented",
                "patience",
                "min_delta",
            )
            if getattr(e, field) != getattr(plain, field)
        }
        assert found == added.get(name, {"optimizer": "two_rates"} if name in TWO_LAYER else {}), name


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
