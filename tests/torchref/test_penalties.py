"""Penalties by hand, and what they are for the optimisers of `torch.optim`."""

from functools import partial

import pytest
import torch
from torch import nn

from torchref import bare, fit, losses, modules, penalties

PARAMETERS = {
    "0.weight": torch.tensor([[1.0, -2.0], [0.0, 3.0]]),
    "0.bias": torch.tensor([10.0, -20.0]),
    "W2": torch.tensor([[-4.0]]),
    "b2": torch.tensor([30.0]),
}
BIASES = {"0.bias", "b2"}
L1 = {False: 1 + 2 + 3 + 4, True: 1 + 2 + 3 + 4 + 10 + 20 + 30}
L2 = {False: 1 + 4 + 9 + 16, True: 1 + 4 + 9 + 16 + 100 + 400 + 900}


@pytest.mark.parametrize("biases", [False, True])
def test_values_by_hand(biases: bool) -> None:
    assert penalties.l1(PARAMETERS, 0.5, biases=biases) == 0.5 * L1[biases]
    assert penalties.l2(PARAMETERS, 0.25, biases=biases) == 0.25 * L2[biases]


@pytest.mark.parametrize("biases", [False, True])
def test_gradients_by_hand(biases: bool) -> None:
    for penalty, factor in ((penalties.l1, 0.5), (penalties.l2, 0.25)):
        parameters = {name: p.clone().requires_grad_() for name, p in PARAMETERS.items()}
        penalty(parameters, factor, biases=biases).backward()
        for name, p in parameters.items():
            if name in BIASES and not biases:
                assert p.grad is None
                continue
            slope = torch.sign(p) if penalty is penalties.l1 else p  # sign(0) is 0
            assert torch.equal(p.grad, 0.5 * slope.detach())


@pytest.mark.parametrize("network", ["bare", "module"])
def test_the_biases_of_the_rungs_are_known(network: str) -> None:
    named = bare.two_layer(4).init() if network == "bare" else dict(modules.mlp([4, 3, 2]).named_parameters())
    found = {name for name in named if penalties.BIAS.fullmatch(name)}
    assert found == ({"b1", "b2"} if network == "bare" else {"0.bias", "2.bias"})


@pytest.mark.parametrize("penalty", [penalties.l1, penalties.l2])
def test_only_biases_are_nothing_to_penalise(penalty) -> None:
    with pytest.raises(ValueError, match="`parameters` holds no weight"):
        penalty({"bias": torch.ones(2)}, 1.0, biases=False)


def fitted(optimizer, penalty=None) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (9,), generator=generator)
    network = modules.mlp([4, 5, 3]).double()
    for p in network.parameters():
        nn.init.normal_(p, generator=generator)
    parameters = dict(network.named_parameters())
    history = fit(
        network,
        parameters,
        (x, y),
        (x, y),
        loss=losses.cross_entropy,
        metrics={"loss": losses.cross_entropy},
        optimizer=lambda parameters, rate: optimizer(parameters.values(), lr=rate),
        learning_rate=0.1,
        epochs=3,
        batch_size=4,
        penalty=penalty,
    )
    return parameters, history


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_l2_is_a_weight_decay_of_twice_the_factor(optimizer) -> None:
    penalised, _ = fitted(optimizer, partial(penalties.l2, factor=0.1, biases=True))
    decayed, _ = fitted(partial(optimizer, weight_decay=0.2))
    other, _ = fitted(partial(optimizer, weight_decay=0.1))
    for name, p in penalised.items():
        torch.testing.assert_close(p, decayed[name], rtol=1e-12, atol=1e-13)
    assert (penalised["0.weight"] - other["0.weight"]).abs().max() > 1e-3


def test_l2_is_not_the_decay_of_adamw() -> None:
    penalised, _ = fitted(torch.optim.Adam, partial(penalties.l2, factor=0.1, biases=True))
    decoupled, _ = fitted(partial(torch.optim.AdamW, weight_decay=0.2))
    assert (penalised["0.weight"] - decoupled["0.weight"]).abs().max() > 1e-3


def test_a_penalty_is_in_the_loss_of_the_steps_and_in_no_metric() -> None:
    def constant(parameters):
        return 2.0 + 0 * parameters["0.weight"].sum()

    (_, plain), (_, penalised) = fitted(torch.optim.SGD), fitted(torch.optim.SGD, constant)
    torch.testing.assert_close(penalised["step_loss"], plain["step_loss"] + 2, rtol=1e-14, atol=0)
    assert torch.equal(penalised["train_loss"], plain["train_loss"])
