"""Two data pipelines: batches that differ are found, with step and cause; roundings are no fault."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

import parity
from parity.pipeline.training_batches import read_batches
from parity.pipeline.training_data import compare_data
from parity.report.partings import Phase
from parity.report.verdicts import Verdict

BATCHES, SAMPLES = 6, 8
MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def images():
    """Photographs as bytes, channels last, and their classes."""
    rng = np.random.default_rng(5)
    count = BATCHES * SAMPLES
    return rng.integers(0, 256, (count, 6, 6, 3)).astype(np.uint8), rng.integers(0, 4, count)


def prepared(pictures):
    """Channels first, normalised: what the reference's pipeline gives."""
    return ((pictures.astype(np.float32) / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2)


def batched(x, y, order=None):
    order = np.arange(len(x)) if order is None else order
    return [
        (x[order[at : at + SAMPLES]], y[order[at : at + SAMPLES]]) for at in range(0, len(order), SAMPLES)
    ]


def compared(other, own=None, layout=None):
    pictures, classes = images()
    own = batched(prepared(pictures), classes) if own is None else own
    sides = [read_batches(side, len(own)) for side in (own, other)]
    return compare_data(*sides, layout or {})


def test_the_same_computed_another_way_is_no_fault():
    """(x - 255 mean) / (255 deviation) in float32, channels last."""
    pictures, classes = images()
    own = (pictures.astype(np.float32) - 255 * MEAN) / (255 * DEVIATION)
    found = compared(batched(own, classes), layout={"input_0": (0, 2, 3, 1)})
    assert found.parting is None
    assert [q.verdict for q in found.quantities] == [Verdict.PASS] * 2


RNG = np.random.default_rng(9)
WITHIN = np.concatenate([RNG.permutation(SAMPLES) + SAMPLES * n for n in range(BATCHES)])
FAULTS = {
    "BGR": (lambda p, y: (prepared(p[..., ::-1]), y), "BGR against RGB, and are normalised after that"),
    "channels turned": (lambda p, y: (prepared(p)[:, ::-1], y), "in the other order: BGR against RGB"),
    "not divided by 255": (lambda p, y: (prepared(p) * 255, y), "<candidate> has 255 x for each x"),
    "flipped": (lambda p, y: (prepared(p)[..., ::-1], y), "turned round along axis 3"),
    "transposed": (lambda p, y: (prepared(p).swapaxes(2, 3), y), "axes 2 and 3"),
    "another mean": (lambda p, y: (prepared(p) * 2 - 1, y), "has 2 x - 1 for each x of <reference>"),
    "means of other channels": (
        lambda p, y: (prepared(p) + (MEAN - MEAN[::-1]).reshape(3, 1, 1), y),
        "scale and shift of its own for each index of axis 1",
    ),
    "cut off": (lambda p, y: (np.clip(prepared(p), 0, 1), y), "cut off to [0, 1]"),
    "labels from one": (lambda p, y: (prepared(p), y + 1), "+1 off everywhere"),
    "labels by name": (lambda p, y: (prepared(p), np.array([2, 0, 1, 3])[y]), "0 is 2, 1 is 0, 2 is 1"),
    "another shuffle": (
        lambda p, y: (prepared(p)[RNG.permutation(len(p))], y),
        "samples and targets no longer belong together",
    ),
    "order in a batch": (lambda p, y: (prepared(p)[WITHIN], y[WITHIN]), "of each batch are the same"),
    "one batch ahead": (
        lambda p, y: (np.roll(prepared(p), -SAMPLES, 0), np.roll(y, -SAMPLES)),
        "another order",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_differs_is_named(name):
    change, words = FAULTS[name]
    found = compared(batched(*change(*images())))
    assert found.parting is not None
    assert found.parting.phase is Phase.DATA
    assert words in found.parting.cause, str(found.parting)
    assert any(q.verdict is Verdict.FAIL for q in found.quantities)


def test_a_shuffle_that_repeats_in_each_epoch_is_named():
    """Two epochs: the reference shuffles anew, the candidate keeps its key (D14)."""
    pictures, classes = images()
    x = prepared(pictures)
    orders = [np.random.default_rng(seed).permutation(len(x)) for seed in (0, 1)]
    own, other = (batched(x, classes, np.concatenate(some)) for some in (orders, [orders[0]] * 2))
    found = compared(other, own)
    assert found.parting is not None
    assert found.parting.step == BATCHES
    assert f"repeats its first {BATCHES} batches" in found.parting.cause


def test_tokens_shifted_twice_are_named():
    """Labels that the data shift already (L25)."""
    rng = np.random.default_rng(1)
    own = [(tokens, tokens) for tokens in rng.integers(0, 50, (4, 3, 7))]
    other = [(tokens, np.roll(tokens, -1, 1)) for tokens, _ in own]
    found = compared(other, own)
    assert found.parting is not None
    assert "each number stands one place earlier" in found.parting.cause


def test_a_single_number_in_a_late_batch_is_found_in_its_step():
    pictures, classes = images()
    other = batched(prepared(pictures), classes)
    other[4][0][2, 1, 3, 3] += 1e-3
    found = compared(other)
    assert found.parting is not None
    assert (found.parting.step, found.parting.cause) == (4, "")
    assert f"in 1 of {SAMPLES * 108} numbers" in found.parting.detail


def test_another_shape_is_said_with_both():
    pictures, classes = images()
    found = compared(batched(prepared(pictures)[:, :, :5], classes))
    assert found.parting is not None
    assert "(8, 3, 6, 6) in <reference>, (8, 3, 5, 6) in <candidate>" in found.parting.detail


def linear(params, x):
    return x @ params["kernel"] + params["bias"]


def trained(model=linear, **options):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((4, 8, n)).astype(np.float32) for n in (5, 2))
    torch.manual_seed(0)
    module = nn.Linear(5, 2)
    return parity.check_training(
        module,
        model,
        list(zip(x, y, strict=True)),
        loss=(nn.functional.mse_loss, lambda out, y: jnp.mean((out - y) ** 2)),
        optimizer=(torch.optim.SGD(module.parameters(), lr=0.1), optax.sgd(0.1)),
        weights=parity.Weights(
            template={
                "kernel": jax.ShapeDtypeStruct((5, 2), "float32"),
                "bias": jax.ShapeDtypeStruct((2,), "float32"),
            }
        ),
        settings=parity.Settings(dtypes=["float64"]),
        **{name: make(x, y) for name, make in options.items()},
    )


def test_data_that_differ_are_the_first_phase_and_all_else_is_still_compared():
    report = trained(candidate_batches=lambda x, y: list(zip(2 * x, y, strict=True)))
    assert report.verdict is Verdict.FAIL
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (0, Phase.DATA)
    assert "has 2 x for each x" in report.parting.cause
    assert {q.group for q in report.quantities if q.verdict is Verdict.FAIL} == {"data"}
    assert "phase data" in str(report)


def test_too_few_batches_of_the_candidate_are_named():
    with pytest.raises(ValueError, match="`candidate_batches` has 4"):
        read_batches([(np.zeros((2, 2)), np.zeros(2))] * 4, 5, 1, "candidate_batches")


def test_outputs_that_differ_come_before_the_loss_of_them():
    report = trained(lambda params, x: linear(params, jnp.maximum(x, 0)))
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (0, Phase.OUTPUTS)
    assert report.divergences


def test_a_last_batch_that_is_dropped_is_named():
    rng = np.random.default_rng(0)
    own = [(rng.standard_normal((size, 4)).astype(np.float32), np.zeros(size)) for size in (8, 8, 3)]
    sides = read_batches(own, None), read_batches(own[:-1], 3, may_end=True)
    found = compare_data(*sides, {})
    assert found.parting.step == 2
    assert "the last has 3 samples for 8, and <candidate> drops it (drop_last)" in found.parting.cause
    assert [q.verdict for q in found.quantities] == [Verdict.PASS] * 2 + [Verdict.FAIL]
