"""The programs that train one network of a case: the same weights, data, epochs and metrics in each."""

import shutil
from collections.abc import Callable, Iterator

import jax

import jaxnn
from parity.networks.benchmark import by_torch
from parity.networks.benchmark.by_numpy import numpy_training
from parity.networks.benchmark.by_sklearn import sklearn_programs
from parity.networks.benchmark.setting import History, Program, Setting
from parity.networks.benchmark.sweeps import programs_of_runs
from parity.numerics.arrays import in_float32, to_jax
from parity.numerics.precision import jax_device


def programs(chosen: Setting, *, compiled: bool = True) -> Iterator[Program]:
    """The programs of a case, JAX's first, then PyTorch's in the notebook's own form."""
    if chosen.rates is not None:
        yield from programs_of_runs(chosen, chosen.rates)
        return
    yield Program("jax", "jax", lambda epochs: _jax(chosen, epochs), "jaxnn.fit, one compiled program")
    rates = (chosen.torch_recipe.learning_rate,)

    def trained(form: by_torch.Form) -> Callable[[int], Callable[[], History]]:
        return lambda epochs: by_torch.training(chosen, form, epochs, rates)

    forms = list(by_torch.forms(chosen))
    for form in forms:
        yield Program(form.name, "torch", trained(form), form.note, eager=True)
    if compiled and (chosen.device == "cuda" or shutil.which("g++") or shutil.which("clang++")):
        for name, form, note in by_torch.compiled_forms(forms[-1], chosen.device):
            yield Program(name, "torch", trained(form), note)
    if chosen.device == "cpu":
        yield from _by_hand(chosen)
        yield from sklearn_programs(chosen)


def _by_hand(chosen: Setting) -> Iterator[Program]:
    training = numpy_training(chosen.case.recipe)
    if training is not None:
        weights = {name: in_float32(array) for name, array in chosen.pair.weights.items()}
        held = {name: in_float32(array) for name, array in chosen.samples.inputs.items()}
        rate = chosen.torch_recipe.learning_rate
        yield Program(
            "numpy",
            "numpy",
            lambda epochs: lambda: training(weights, held, epochs, rate),
            "gradients by hand",
        )


def _jax(chosen: Setting, epochs: int) -> Callable[[], History]:
    place, recipe = jax_device(chosen.device), chosen.jax_recipe
    params = jax.device_put(chosen.params, place)
    given = {name: to_jax(array, "float32", place) for name, array in chosen.arrays.items()}

    def run() -> History:
        fitted = jaxnn.fit(
            chosen.pair.candidate.call,
            params,
            (given["x_train"], given["y_train"]),
            (given["x_val"], given["y_val"]),
            loss=recipe.loss,
            metrics=recipe.metrics,
            optimizer=recipe.optimizer,
            learning_rate=recipe.learning_rate,
            epochs=epochs,
            batch_size=recipe.batch_size,
            order=chosen.order,
        )
        history: History = jax.block_until_ready(fitted.history)  # type: ignore[no-untyped-call]
        return history

    return run
