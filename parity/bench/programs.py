"""The programs that train one network of a case: the same weights, data, epochs and metrics in each."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import Tensor, nn

import jaxnn
import torchref
from data import batches
from parity.arrays import to_jax, to_torch
from parity.bench.by_numpy import numpy_training
from parity.cases.drawing import draw
from parity.cases.registry import Case
from parity.cases.samples import Samples, load_samples
from parity.cases.training import channels_last
from parity.pairs import Pair, match
from parity.precision import jax_device

History = Mapping[str, Any]
"""What a run measured: `train_loss`, `val_loss` and so on, one entry per epoch."""


class Program(NamedTuple):
    """One way to train the network.

    Attributes:
        name: what the table calls it.
        framework: "jax", "torch" or "numpy".
        make: `make(epochs) -> run`, where `run()` trains from the start, waits until all is done and returns
            the history; the first run compiles.
        note: what sets it apart, in words.
    """

    name: str
    framework: str
    make: Callable[[int], Callable[[], History]]
    note: str = ""


class Setting(NamedTuple):
    """A case with its data and weights: what all programs share.

    Attributes:
        case: the case.
        ours: PyTorch's recipe.
        theirs: JAX's.
        samples: all samples, float64.
        pair: both networks with the weights between them.
        params: JAX's params, float32.
        arrays: the samples as JAX takes them, float32.
        order: the order of the samples in an epoch of minibatches, else None.
        device: "cpu" or "cuda".
    """

    case: Case
    ours: torchref.Recipe
    theirs: jaxnn.Recipe
    samples: Samples
    pair: Pair
    params: Any
    arrays: dict[str, np.ndarray]
    order: np.ndarray | None
    device: str


def setting(case: Case, *, data_name: str, device: str, seed: int = 0) -> Setting:
    """Load the data of a case and draw its weights."""
    ours, theirs = torchref.RECIPES[case.torch_recipe or case.recipe], jaxnn.RECIPES[case.recipe]
    samples = load_samples(data_name, labels=ours.labels, images=ours.images)
    network, torch_params = draw(ours, samples, seed)
    model = theirs.model(samples.jax_input_shape, samples.num_outputs)
    template = jax.eval_shape(model.init, jax.random.key(seed))
    pair = match(network, model.apply, template=template, torch_params=torch_params)
    leaves = {path: leaf.astype(np.float32) for path, leaf in pair.jax_weights.items()}
    arrays = {name: _narrow(channels_last(array, name)) for name, array in samples.inputs.items()}
    count = len(samples.inputs["x_train"])
    order = batches.order(count, batch_size=ours.batch_size)[0] if ours.batch_size else None
    return Setting(case, ours, theirs, samples, pair, pair.jax.tree.build(leaves), arrays, order, device)


def programs(chosen: Setting, *, compiled: bool = True) -> Iterator[Program]:
    """The programs of a case, JAX's first, then PyTorch's in the notebook's own form."""
    yield Program("jax", "jax", lambda epochs: _jax(chosen, epochs), "jaxnn.fit, one compiled program")
    forms = list(_torch_forms(chosen))
    for name, form, note in forms:
        yield Program(name, "torch", lambda epochs, form=form: _torch(chosen, form, epochs), note)  # type: ignore[misc]
    if compiled and (chosen.device == "cuda" or shutil.which("g++") or shutil.which("clang++")):
        *_, (_, form, _) = forms

        def with_compiler(epochs: int) -> Callable[[], History]:
            forward = torch.compile(form.forward, dynamic=False)
            return _torch(chosen, form._replace(forward=forward), epochs)

        yield Program("torch.compile", "torch", with_compiler, "the forward pass compiled")
    by_hand = numpy_training(chosen.case.recipe)
    if by_hand is not None and chosen.device == "cpu":
        weights = {name: np.array(a, np.float32) for name, a in chosen.pair.weights.items()}
        held = {name: _narrow(array) for name, array in chosen.samples.inputs.items()}
        rate = chosen.ours.learning_rate
        yield Program(
            "numpy", "numpy", lambda epochs: lambda: by_hand(weights, held, epochs, rate), "gradients by hand"
        )


class _Form(NamedTuple):
    """A PyTorch network, its weights under the names that `forward` takes, and what updates them."""

    forward: Callable[..., Tensor]
    weights: dict[str, Tensor]
    optimizer: Callable[..., Any]


def _torch_forms(chosen: Setting) -> Iterator[tuple[str, _Form, str]]:
    """The notebook's own form and, for an affine layer of bare tensors, that of the library."""
    weights = {n: to_torch(a, "float32", chosen.device) for n, a in chosen.pair.weights.items()}
    call = chosen.pair.torch.call
    yield "torch", _Form(call, weights, chosen.ours.optimizer), "the notebook's form, eager"
    if set(weights) in ({"W", "b"}, {"w", "b"}):
        kernel = weights.get("W", weights.get("w"))
        assert kernel is not None
        outputs = len(weights["b"])
        matrix = kernel.reshape(outputs, -1) if kernel.ndim == 1 or len(kernel) == outputs else kernel.T
        vector = "w" in weights

        def linear(own: Mapping[str, Tensor], x: Tensor) -> Tensor:
            logits = nn.functional.linear(x, own["weight"], own["bias"])
            return logits[:, 0] if vector else logits

        stored = {"weight": matrix.contiguous(), "bias": weights["b"]}
        yield (
            "torch linear",
            _Form(linear, stored, torchref.RECIPES["linear"].optimizer),
            "as nn.Linear stores it, eager",
        )


def _torch(chosen: Setting, form: _Form, epochs: int) -> Callable[[], History]:
    device, recipe = chosen.device, chosen.ours
    given = {name: to_torch(array, "float32", device) for name, array in chosen.samples.inputs.items()}

    def run() -> History:
        parameters = {name: tensor.clone().requires_grad_() for name, tensor in form.weights.items()}
        return torchref.fit(
            lambda x: form.forward(parameters, x),
            parameters,
            (given["x_train"], given["y_train"]),
            (given["x_val"], given["y_val"]),
            loss=recipe.loss,
            metrics=recipe.metrics,
            optimizer=form.optimizer,
            learning_rate=recipe.learning_rate,
            epochs=epochs,
            batch_size=recipe.batch_size,
            order=chosen.order,
        )

    return run


def _jax(chosen: Setting, epochs: int) -> Callable[[], History]:
    place, recipe = jax_device(chosen.device), chosen.theirs
    params = jax.device_put(chosen.params, place)
    given = {name: to_jax(array, "float32", place) for name, array in chosen.arrays.items()}

    def run() -> History:
        fitted = jaxnn.fit(
            chosen.pair.jax.call,
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


def _narrow(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.kind == "f" else array
