"""Schedulers of PyTorch: their rates for 200 steps, and runs of 200 steps with them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import optim
from torch.optim import lr_scheduler as s
from torch.optim.swa_utils import SWALR

from parity.optimizers import to_optax, to_schedule
from parity.report.verdicts import Verdict
from tests.parity.optimizers.training_kit import PLAN, STEPS, network, quantities, tree


class EveryThird(s.LRScheduler):
    """A schedule of the user's own."""

    def get_lr(self):
        return [base / (1 + self.last_epoch // 3) for base in self.base_lrs]


SCHEDULES = {
    "LambdaLR": lambda o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 0.5 if t > 20 else 1.0]),
    "MultiplicativeLR": lambda o: s.MultiplicativeLR(o, lambda t: 0.99 if t % 2 else 1.0),
    "StepLR": lambda o: s.StepLR(o, 7, gamma=0.7),
    "MultiStepLR": lambda o: s.MultiStepLR(o, [5, 20, 20, 90], gamma=0.5),
    "ConstantLR": lambda o: s.ConstantLR(o, factor=0.3, total_iters=11),
    "LinearLR": lambda o: s.LinearLR(o, start_factor=0.01, end_factor=0.9, total_iters=30),
    "ExponentialLR": lambda o: s.ExponentialLR(o, gamma=0.98),
    "PolynomialLR": lambda o: s.PolynomialLR(o, total_iters=60, power=1.7),
    "CosineAnnealingLR": lambda o: s.CosineAnnealingLR(o, T_max=40, eta_min=1e-4),
    "CosineAnnealingWarmRestarts": lambda o: s.CosineAnnealingWarmRestarts(o, T_0=5, T_mult=2, eta_min=1e-5),
    "CosineAnnealingWarmRestarts, equal": lambda o: s.CosineAnnealingWarmRestarts(o, T_0=9),
    "CyclicLR": lambda o: s.CyclicLR(o, 1e-3, 2e-2, step_size_up=7, step_size_down=12),
    "CyclicLR, triangular2": lambda o: s.CyclicLR(o, [1e-3, 1e-4], 2e-2, step_size_up=9, mode="triangular2"),
    "CyclicLR, exp_range": lambda o: s.CyclicLR(o, 1e-3, 2e-2, step_size_up=9, mode="exp_range", gamma=0.99),
    "CyclicLR, own scale": lambda o: s.CyclicLR(o, 1e-3, 2e-2, step_size_up=9, scale_fn=lambda x: 1 / x),
    "OneCycleLR": lambda o: s.OneCycleLR(o, [2e-2, 1e-2], total_steps=STEPS + 1),
    "OneCycleLR, linear": lambda o: s.OneCycleLR(
        o, 2e-2, total_steps=STEPS + 1, anneal_strategy="linear", three_phase=True, pct_start=0.4
    ),
    "SequentialLR": lambda o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=10), s.CosineAnnealingLR(o, 50), s.ExponentialLR(o, 0.9)], [10, 60]
    ),
    "SequentialLR of a function": lambda o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 5), s.LambdaLR(o, lambda t: 0.9**t)], [20]
    ),
    "ChainedScheduler": lambda o: s.ChainedScheduler(
        [s.ExponentialLR(o, 0.99), s.LinearLR(o, 0.1, total_iters=20), s.StepLR(o, 30)]
    ),
    "SWALR": lambda o: SWALR(o, swa_lr=1e-3, anneal_epochs=12),
    "own": EveryThird,
}
PLATEAUS = {
    "relative": lambda o: s.ReduceLROnPlateau(o, factor=0.5, patience=3, cooldown=2, min_lr=[1e-3, 1e-5]),
    "absolute": lambda o: s.ReduceLROnPlateau(o, "max", 0.3, 5, threshold=1e-2, threshold_mode="abs"),
}


def sgd(module):
    groups = [{"params": [module[0].weight, module[2].bias]}, {"params": [module[0].bias], "lr": 4e-3}]
    return optim.SGD(groups, lr=1e-2, momentum=0.9)  # the other weight is frozen


def adamw(module):
    return optim.AdamW(sgd(module).param_groups, lr=1e-2)


def assert_run(build, schedule, every=1, dtypes=("float64", "float32")):
    for quantity in quantities(build, schedule, every=every):
        if quantity.dtype not in dtypes:
            continue
        if quantity.dtype == "float64":
            assert max(quantity.curve.rho) <= 10, (quantity.group, quantity.name)
        assert quantity.verdict is Verdict.PASS, (quantity.group, quantity.name, quantity.notes)


def test_every_scheduler_of_torch_is_tried():
    assert set(s.__all__) - {"LRScheduler"} <= {
        *(name.split(",")[0] for name in SCHEDULES),
        "ReduceLROnPlateau",
    }


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_rates_are_those_of_torch(name, every):
    optimizer = sgd(network())
    scheduler = SCHEDULES[name](optimizer)
    with jax.enable_x64(True):
        schedules = [
            jax.jit(jax.vmap(to_schedule(scheduler, group=group, updates_per_step=every))) for group in (0, 1)
        ]
        rates = [np.asarray(schedule(jnp.arange(STEPS))) for schedule in schedules]
    for count in range(STEPS):
        for group, found in zip(optimizer.param_groups, rates, strict=True):
            # PyTorch rounds in every step, three times or so; a way between two rates as the larger.
            bound = 4 * (count + 1) * np.finfo(np.float64).eps * found.max()
            assert abs(found[count] - group["lr"]) <= bound, (count, found[count], group["lr"])
        if (count + 1) % every == 0:
            scheduler.step()


@pytest.mark.parametrize("name", SCHEDULES)
def test_two_hundred_steps_with_a_schedule_are_those_of_torch(name):
    assert_run(sgd, SCHEDULES[name])


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR, own scale", "LinearLR"])
def test_a_cycle_moves_the_first_beta_of_adam(name):
    # In float32 the schedule itself is float32 (see `Differs` of `to_optax`).
    assert_run(adamw, SCHEDULES[name], dtypes=("float64",))


@pytest.mark.parametrize("name", PLATEAUS)
@pytest.mark.parametrize("every", [1, 3])
def test_a_plateau_lowers_the_rates_as_in_torch(name, every):
    assert_run(sgd, PLATEAUS[name], every)


def test_a_schedule_by_epochs_steps_once_an_epoch():
    assert_run(sgd, SCHEDULES["StepLR"], every=10)


def translated(scheduler, **options):
    module = network()
    optimizer = sgd(module)
    params = tree(PLAN.to_leaves({k: p.detach().numpy() for k, p in module.named_parameters()}))
    return to_optax(optimizer, params, PLAN, module=module, scheduler=scheduler(optimizer), **options), params


def test_errors_say_what_to_do():
    optimizer = sgd(network())
    with pytest.raises(TypeError, match="ReduceLROnPlateau depends on a metric"):
        to_schedule(s.ReduceLROnPlateau(optimizer))
    with pytest.raises(TypeError, match="`scheduler` is a float; it must be one of"):
        to_schedule(0.1)
    with pytest.raises(ValueError, match="`group` is 2; the optimiser has 2 groups"):
        to_schedule(s.StepLR(optimizer, 2), group=2)
    with pytest.raises(ValueError, match="`updates_per_step` is 0; it must be at least 1"):
        to_schedule(s.StepLR(optimizer, 2), updates_per_step=0)
    with pytest.raises(ValueError, match="built over another optimiser"):
        translated(lambda own: s.StepLR(optimizer, 2))
    stepped = s.LambdaLR(optimizer, lambda t: 1.0)
    optimizer.step()
    stepped.step()
    with pytest.raises(ValueError, match="LambdaLR\\) has made 1 steps: its first rates cannot be read"):
        to_schedule(stepped)
    plateau, params = translated(PLATEAUS["relative"])
    with pytest.raises(ValueError, match="`value` is missing"):
        plateau.update(params, plateau.init(params), params)


def test_a_scheduler_is_left_as_it_was():
    optimizer = sgd(network())
    scheduler = SCHEDULES["ChainedScheduler"](optimizer)
    before = [dict(group, params=None) for group in optimizer.param_groups], scheduler.state_dict()
    float(to_schedule(scheduler)(jnp.asarray(50)))
    assert ([dict(group, params=None) for group in optimizer.param_groups], scheduler.state_dict()) == before


def test_the_common_schedules_are_compiled_whole():
    for name in ("SequentialLR", "OneCycleLR", "CyclicLR", "StepLR"):
        schedule = to_schedule(SCHEDULES[name](sgd(network())))
        assert "callback" not in str(jax.make_jaxpr(schedule)(jnp.asarray(0))), name
    asked = to_schedule(SCHEDULES["LambdaLR"](sgd(network())))
    assert "callback" in str(jax.make_jaxpr(asked)(jnp.asarray(0)))


def test_an_optimiser_of_optax_takes_a_schedule():
    schedule = to_schedule(s.ExponentialLR(optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0), 0.5))
    transformation = optax.sgd(schedule)
    state = transformation.init(jnp.zeros(2))
    for rate in (1.0, 0.5, 0.25):
        updates, state = transformation.update(jnp.ones(2), state)
        assert float(updates[0]) == -rate
