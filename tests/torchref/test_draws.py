"""Random numbers beside the samples, and a rate of each epoch's own, in `fit`."""

import numpy as np
import pytest
import torch
from torch import nn

from data.draws import keep as draw_keep
from torchref import fit, losses, modules

NUM_TRAIN, EPOCHS, RATE = 11, 4, 0.3
ORDERS = {
    "none": None,
    "fixed": np.random.default_rng(4).permutation(NUM_TRAIN)[:9],
    "every epoch": np.stack([np.random.default_rng(e).permutation(NUM_TRAIN)[:9] for e in range(EPOCHS)]),
}


def network() -> nn.Module:
    built = modules.mlp([6, 7, 5, 3], dropout_rate=0.5).double()
    generator = torch.Generator().manual_seed(0)
    for p in built.parameters():
        nn.init.normal_(p, std=0.5, generator=generator)
    return built


def draw(num_samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_samples, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (num_samples,), generator=generator)


def fitted(batch_size, order=None, draws=None, **how):
    model = network()
    history = fit(
        model,
        dict(model.named_parameters()),
        draw(NUM_TRAIN, 0),
        draw(5, 1),
        loss=losses.cross_entropy,
        metrics={"loss": losses.cross_entropy},
        optimizer=lambda parameters, rate: torch.optim.SGD(parameters.values(), lr=rate),
        learning_rate=RATE,
        epochs=EPOCHS,
        batch_size=batch_size,
        order=order,
        draws=draws,
        **how,
    )
    return model, history


def loop(order, kept, batch_size, rates):
    """Steps one at a time, the masks of each sample taken by its place in the epoch."""
    model, (x, y), (x_val, y_val) = network(), draw(NUM_TRAIN, 0), draw(5, 1)
    step_losses, val_losses = [], []
    for epoch in range(EPOCHS):
        rows = np.arange(NUM_TRAIN) if order is None else order if order.ndim == 1 else order[epoch]
        size = batch_size or len(rows)
        if batch_size is None:
            val_losses.append(losses.cross_entropy(model(x_val), y_val).item())
        step_losses.append([])
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            value = losses.cross_entropy(model(x[chosen], keep=kept[epoch, start : start + size]), y[chosen])
            grads = torch.autograd.grad(value, list(model.parameters()))
            with torch.no_grad():
                for p, grad in zip(model.parameters(), grads, strict=True):
                    p -= rates[epoch] * grad
            step_losses[-1].append(value.item())
        if batch_size is not None:
            val_losses.append(losses.cross_entropy(model(x_val), y_val).item())
    return model, {"step_loss": step_losses, "val_loss": val_losses}


def assert_same(run, by_hand) -> None:
    for p, known in zip(run[0].parameters(), by_hand[0].parameters(), strict=True):
        torch.testing.assert_close(p, known, rtol=1e-12, atol=1e-14)
    for name, values in by_hand[1].items():
        known = torch.tensor(values, dtype=torch.float64)
        torch.testing.assert_close(run[1][name], known, rtol=1e-12, atol=0)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("kind", ORDERS)
def test_each_step_gets_the_masks_of_its_samples(kind: str, batch_size: int | None) -> None:
    order = ORDERS[kind]
    kept = torch.tensor(draw_keep(NUM_TRAIN if order is None else 9, 12, 0.5, epochs=EPOCHS)["keep"])
    run = fitted(batch_size, order, {"keep": kept})
    assert_same(run, loop(order, kept, batch_size, [RATE] * EPOCHS))
    assert (run[1]["step_loss"][0, 0] - fitted(batch_size, order)[1]["step_loss"][0, 0]).abs() > 1e-3


@pytest.mark.parametrize("batch_size", [None, 4])
def test_the_rate_of_each_epoch(batch_size: int | None) -> None:
    kept = torch.tensor(draw_keep(NUM_TRAIN, 12, 0.5, epochs=EPOCHS)["keep"])
    run = fitted(
        batch_size,
        draws={"keep": kept},
        schedule=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5),
    )
    assert_same(run, loop(None, kept, batch_size, [RATE, RATE / 2, RATE / 4, RATE / 8]))


def test_metrics_are_those_without_random_numbers() -> None:
    kept = torch.tensor(draw_keep(NUM_TRAIN, 12, 0.5, epochs=EPOCHS)["keep"])
    _, history = fitted(None, draws={"keep": kept})
    x, y = draw(NUM_TRAIN, 0)
    torch.testing.assert_close(history["train_loss"][0], losses.cross_entropy(network()(x), y).detach())


@pytest.mark.parametrize("shape", [(EPOCHS, 10, 12), (EPOCHS + 1, NUM_TRAIN, 12), (EPOCHS,)])
def test_numbers_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"`draws` must hold a row per epoch and sample used, \(4, 11"):
        fitted(4, draws={"keep": torch.ones(shape, dtype=torch.bool)})
