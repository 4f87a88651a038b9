"""The programs that train one network of a case: the same weights, data, epochs and metrics in each."""

import shutil
from collections.abc import Callable, Iterator

from parity.networks.benchmark import by_torch
from parity.networks.benchmark.by_jax import fit_training
from parity.networks.benchmark.by_numpy import numpy_training
from parity.networks.benchmark.by_sklearn import sklearn_contenders
from parity.networks.benchmark.prepared_case import Contender, History, PreparedCase
from parity.networks.benchmark.sweeps import sweep_contenders
from parity.numerics.arrays import in_float32


def all_contenders(chosen: PreparedCase, *, compiled: bool = True) -> Iterator[Contender]:
    """The contenders of a case, JAX's first, then PyTorch's in the notebook's own form.

    Args:
        chosen: the case.
        compiled: whether to include torch.compile, where there is a compiler.
    """
    if chosen.rates is not None:
        yield from sweep_contenders(chosen, chosen.rates)
        return
    yield Contender(
        "jax", "jax", lambda epochs: fit_training(chosen, epochs), "jaxnn.fit, one compiled program"
    )
    rates = (chosen.torch_recipe.learning_rate,)

    def trained(form: by_torch.Form) -> Callable[[int], Callable[[], History]]:
        return lambda epochs: by_torch.training(chosen, form, epochs, rates)

    forms = list(by_torch.forms(chosen))
    for form in forms:
        yield Contender(form.name, "torch", trained(form), form.note, eager=True)
    if compiled and (chosen.device == "cuda" or shutil.which("g++") or shutil.which("clang++")):
        for name, form, note in by_torch.compiled_forms(forms[-1], chosen.device):
            yield Contender(name, "torch", trained(form), note)
    if chosen.device == "cpu":
        yield from _by_hand(chosen)
        yield from sklearn_contenders(chosen)


def _by_hand(chosen: PreparedCase) -> Iterator[Contender]:
    training = numpy_training(chosen.case.recipe)
    if training is not None:
        weights = {name: in_float32(array) for name, array in chosen.pair.weights.items()}
        held = {name: in_float32(array) for name, array in chosen.samples.inputs.items()}
        rate = chosen.torch_recipe.learning_rate
        yield Contender(
            "numpy",
            "numpy",
            lambda epochs: lambda: training(weights, held, epochs, rate),
            "gradients by hand",
        )
