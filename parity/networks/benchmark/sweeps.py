"""The programs of many runs: one start, a learning rate each; times are per model and epoch."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from parity.networks.benchmark import by_torch
from parity.networks.benchmark.by_jax import sweep_training
from parity.networks.benchmark.prepared_case import Contender, History, PreparedCase

ALONE = 4
"""Runs that the programs of one run after another train, evenly spread: each costs the same."""


def sweep_contenders(chosen: PreparedCase, rates: Sequence[float]) -> Iterator[Contender]:
    """The contenders of many runs: `jaxnn.sweep`, PyTorch's forms in turn, and `torch.func.vmap`.

    Args:
        chosen: the case.
        rates: the learning rate of each run.
    """
    every = tuple(range(len(rates)))
    few = tuple(sorted({round(i) for i in np.linspace(0, len(rates) - 1, min(ALONE, len(rates)))}))
    yield Contender(
        "jax",
        "jax",
        lambda epochs: sweep_training(chosen, rates, epochs),
        "jaxnn.sweep, one program",
        which=every,
    )

    def one_by_one(form: by_torch.Form) -> Callable[[int], Callable[[], History]]:
        some = [rates[i] for i in few]
        return lambda epochs: by_torch.training(chosen, form, epochs, some)

    forms = list(by_torch.forms(chosen))
    for form in forms:
        note = f"{form.note}, one run after another, {len(few)} of the {len(rates)}"
        yield Contender(form.name, "torch", one_by_one(form), note, eager=True, which=few)
    yield Contender(
        "torch vmap",
        "torch",
        lambda epochs: _vmap(chosen, forms[-1], rates, epochs),
        "torch.func.vmap over stacked weights, all runs at once",
        which=every,
    )


def _vmap(
    chosen: PreparedCase, form: by_torch.Form, rates: Sequence[float], epochs: int
) -> Callable[[], History]:
    """All runs in one eager program: weights stacked, the gradient function mapped over them."""
    recipe, given = chosen.torch_recipe, by_torch.samples_of(chosen)
    parts = [(split, given[f"x_{split}"], given[f"y_{split}"]) for split in ("train", "val")]
    x, y = given["x_train"], given["y_train"]
    if chosen.order is not None:
        order = torch.as_tensor(np.array(chosen.order), device=x.device)
        x, y = x[order], y[order]
    size = recipe.batch_size or len(x)

    def objective(weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = form.forward(weights, x)
        return recipe.loss(logits, y), logits

    gradients = torch.func.vmap(torch.func.grad(objective, has_aux=True), in_dims=(0, None, None))
    forward = torch.func.vmap(form.forward, in_dims=(0, None))
    metrics = {name: torch.func.vmap(f, in_dims=(0, None)) for name, f in recipe.metrics.items()}

    def logits_of(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        if x.ndim == 2:
            return forward(weights, x)
        # The inner values of many runs on all images at once would not fit into memory.
        return torch.cat([forward(weights, batch) for batch in x.split(size)], dim=1)

    @torch.no_grad()
    def run() -> History:
        weights = {n: w.expand(len(rates), *w.shape).contiguous() for n, w in form.weights.items()}
        descent = _descent(form, weights, rates)
        history: dict[str, list[Tensor]] = defaultdict(list)

        def record(split: str, logits: Tensor, labels: Tensor) -> None:
            for name, metric in metrics.items():
                history[f"{split}_{name}"].append(metric(logits, labels))

        for _ in range(epochs):
            for x_batch, y_batch in zip(x.split(size), y.split(size), strict=True):
                grads, logits = gradients(weights, x_batch, y_batch)
                if recipe.batch_size is None:  # before the update, as `torchref.fit` does
                    record("train", logits, y_batch)
                    record("val", logits_of(weights, given["x_val"]), given["y_val"])
                descent(grads)
            if recipe.batch_size is not None:
                for split, inputs, labels in parts:
                    record(split, logits_of(weights, inputs), labels)
        # One transfer each at the end, and what is (epochs, runs) turned.
        return {name: torch.stack(values, dim=1).cpu() for name, values in history.items()}

    return run


def _descent(
    form: by_torch.Form, weights: Mapping[str, Tensor], rates: Sequence[float]
) -> Callable[[Mapping[str, Tensor]], None]:
    """Plain gradient descent on stacked weights, a rate per run, in place."""
    column = torch.tensor(rates, device=next(iter(weights.values())).device)
    factors = {
        name: factor * column.view(-1, *[1] * (weights[name].ndim - 1))
        for name, factor in _factors(form).items()
    }

    def step(grads: Mapping[str, Tensor]) -> None:
        for name, weight in weights.items():
            weight -= factors[name] * grads[name]

    return step


def _factors(form: by_torch.Form) -> dict[str, float]:
    """By how much the form's optimiser moves each weight at a rate and a gradient of 1.

    No optimiser takes a rate per run, but all of these descend by rate times gradient, one with a tenth of
    the rate for some weights.
    """
    tried = {name: torch.zeros(1, requires_grad=True) for name in form.weights}
    for weight in tried.values():
        weight.grad = torch.ones(1)
    form.optimizer(tried, 1.0).step()
    return {name: -weight.item() for name, weight in tried.items()}
