"""PyTorch's forms of a case, trained one run after another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

import torchref
from parity.networks.benchmark.prepared_case import History, PreparedCase, affine_layers
from parity.numerics.arrays import to_torch
from torchref.optimizers import Optimizer


class Form(NamedTuple):
    """One way to write a network in PyTorch.

    Attributes:
        name: what the table calls it.
        forward: `forward(weights, x) -> logits`.
        weights: float32 tensors under the names that `forward` takes.
        optimizer: `optimizer(parameters, learning_rate)`.
        note: what sets it apart, in words.
    """

    name: str
    forward: Callable[..., Tensor]
    weights: dict[str, Tensor]
    optimizer: Callable[[Mapping[str, Tensor], float], Optimizer]
    note: str


def forms(chosen: PreparedCase) -> Iterator[Form]:
    """The notebook's own form and, for one layer of bare tensors, the library's, which is faster.

    Args:
        chosen: the case.

    Returns:
        The forms, eager, the notebook's first.
    """
    weights = {n: to_torch(a, "float32", chosen.device) for n, a in chosen.pair.weights.items()}
    call = chosen.pair.reference.call
    yield Form("torch", call, weights, chosen.torch_recipe.optimizer, "the notebook's form, eager")
    if set(weights) in ({"W", "b"}, {"w", "b"}):
        ((matrix, bias),) = affine_layers(chosen.pair.weights)
        vector = "w" in weights

        def linear(own: Mapping[str, Tensor], x: Tensor) -> Tensor:
            logits = nn.functional.linear(x, own["weight"], own["bias"])
            return logits[:, 0] if vector else logits

        stored = {
            name: to_torch(array, "float32", chosen.device).contiguous()
            for name, array in (("weight", matrix), ("bias", bias))
        }
        optimizer = torchref.RECIPES["linear"].optimizer
        yield Form("torch linear", linear, stored, optimizer, "as nn.Linear stores it, eager")


def compiled_forms(form: Form, device: str) -> Iterator[tuple[str, Form, str]]:
    """A form with its forward pass compiled; on a GPU also with CUDA graphs.

    Args:
        form: an eager form.
        device: "cpu" or "cuda".

    Returns:
        Name, form and note of each.
    """
    modes: list[tuple[str, str | None, str]] = [("torch.compile", None, "the forward pass compiled")]
    if device == "cuda":  # there alone does this mode record and replay graphs
        modes.append(("torch graphs", "reduce-overhead", "the forward pass compiled, CUDA graphs"))
    for name, mode, note in modes:
        yield name, form._replace(forward=torch.compile(form.forward, mode=mode, dynamic=False)), note


def training(
    chosen: PreparedCase, form: Form, epochs: int, learning_rates: Sequence[float]
) -> Callable[[], History]:
    """Prepare runs of `torchref.fit`, one after another.

    Args:
        chosen: the case.
        form: which network and optimiser.
        epochs: of each run.
        learning_rates: one per run.

    Returns:
        `run() -> history`; the histories of several runs are stacked along a new first axis.
    """
    recipe = chosen.torch_recipe
    given = samples_of(chosen)

    def one(learning_rate: float) -> dict[str, Tensor]:
        parameters = {name: tensor.clone().requires_grad_() for name, tensor in form.weights.items()}
        return torchref.fit(
            lambda x: form.forward(parameters, x),
            parameters,
            (given["x_train"], given["y_train"]),
            (given["x_val"], given["y_val"]),
            loss=recipe.loss,
            metrics=recipe.metrics,
            optimizer=form.optimizer,
            learning_rate=learning_rate,
            epochs=epochs,
            batch_size=recipe.batch_size,
            order=chosen.order,
        )

    def run() -> History:
        histories = [one(rate) for rate in learning_rates]
        if len(histories) == 1:
            return histories[0]
        return {name: torch.stack([history[name] for history in histories]) for name in histories[0]}

    return run


def samples_of(chosen: PreparedCase) -> dict[str, Tensor]:
    """The samples as PyTorch takes them.

    Args:
        chosen: the case.

    Returns:
        Tensors by name on the device of the case: floating ones float32, others int64.
    """
    return {name: to_torch(array, "float32", chosen.device) for name, array in chosen.samples.inputs.items()}
