"""Faults of a training set-up, continued: a transformation too many in the chain, and cycles of rates."""

import optax
from torch.optim import lr_scheduler

from parity.report.partings import Phase
from tests.training_faults.cases import STEPS, Case, adam, adamw, sgd

SCHEDULE, UPDATE = Phase.SCHEDULE, Phase.UPDATE


def too_many(name: str) -> str:
    return rf"has `optax\.{name}`, PyTorch's nothing like it"


FAULTS: dict[str, Case] = {
    "clipped by the size of the weights": Case(
        sgd(),
        optax.chain(optax.adaptive_grad_clip(0.01), optax.sgd(0.05)),
        phase=UPDATE,
        cause=too_many("adaptive_grad_clip"),
    ),
    "LAMB for AdamW": Case(
        adamw(weight_decay=0.1),
        optax.lamb(0.01, eps=1e-8, weight_decay=0.1),
        phase=UPDATE,
        cause=too_many("scale_by_trust_ratio"),
    ),
    "noise on the gradients": Case(
        sgd(),
        optax.chain(optax.add_noise(0.01, 0.55, 0), optax.sgd(0.05)),
        phase=UPDATE,
        cause=too_many("add_noise"),
    ),
    "gradients averaged over time": Case(
        sgd(),
        optax.chain(optax.ema(0.9), optax.sgd(0.05)),
        step=1,
        phase=UPDATE,
        cause=too_many("ema"),
    ),
    "accumulated on one side": Case(
        sgd(), optax.MultiSteps(optax.sgd(0.05), 2), phase=UPDATE, cause=too_many("MultiSteps")
    ),
    "weights kept from falling below zero": Case(
        sgd(),
        optax.chain(optax.sgd(0.05), optax.keep_params_nonnegative()),
        phase=UPDATE,
        cause=too_many("keep_params_nonnegative"),
    ),
    "a second epsilon": Case(
        adam(),
        optax.adam(0.01, eps_root=1e-4),
        phase=UPDATE,
        cause="epsilon inside of the root is 0 in PyTorch and 0.0001",
    ),
    "lion for AdamW": Case(
        adamw(weight_decay=0.1),
        optax.lion(0.01, weight_decay=0.1),
        phase=Phase.SLOTS,
        cause="`optax.lion`",
    ),
    "restarts that do not grow": Case(
        sgd(),
        optax.sgd(
            optax.join_schedules([optax.cosine_decay_schedule(0.05, 5)] * 8, [5 * n for n in range(1, 8)])
        ),
        scheduler=lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, T_mult=2),
        step=6,
        phase=SCHEDULE,
        cause=r"starts again at steps 5, 15; that of JAX .* at steps 5, 10, 15",
    ),
    "another share of one cycle that rises": Case(
        sgd(),
        optax.sgd(optax.cosine_onecycle_schedule(STEPS, 0.05, pct_start=0.5)),
        scheduler=lambda o: lr_scheduler.OneCycleLR(
            o, 0.05, total_steps=STEPS, pct_start=0.4, cycle_momentum=False
        ),
        step=1,
        phase=SCHEDULE,
        cause="rises as half a cosine over .* then falls as one over .*; that of JAX rises",
    ),
}
