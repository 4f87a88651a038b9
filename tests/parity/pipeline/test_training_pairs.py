"""`check_training` of two models: right set-ups pass, faults are named with step, phase and cause."""

import copy
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import parity
from parity.report.partings import Phase
from parity.report.verdicts import Verdict
from tests.training_faults.cases import batches, mean_square, mean_square_torch, network
from tests.training_faults.catalogue import FAULTS, RIGHT
from tests.training_faults.suite import Row, report_of


def sampled(cases, every):
    """Some of the cases by default; all with `-m whole`, or `python -m tests.training_faults`."""
    return [
        pytest.param(name, marks=() if number % every == 0 else (pytest.mark.whole,), id=name)
        for number, name in enumerate(cases)
    ]


@pytest.mark.parametrize("name", sampled(RIGHT, 4))
def test_a_right_set_up_passes(name):
    report = report_of(RIGHT[name])
    assert report.verdict is Verdict.PASS, str(report)
    assert report.parting is None


@pytest.mark.parametrize("name", sampled(FAULTS, 8))
def test_a_fault_is_named_with_step_phase_and_cause(name):
    row = Row(name, FAULTS[name], report_of(FAULTS[name]))
    assert row.report.verdict is Verdict.FAIL, str(row.report)
    assert row.placed, str(row.report.parting)
    assert row.named or not row.case.cause, str(row.report.parting)
    assert f"parts at step {row.report.parting.step}, phase {row.case.phase}" in str(row.report)


def arguments(**changed):
    module, port, template = network()
    given = {
        "reference": module,
        "candidate": port,
        "batches": batches()[:3],
        "loss": (mean_square_torch, mean_square),
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.05),
        "weights": parity.Weights(template=template),
        "settings": parity.Settings(dtypes=["float64"]),
    }
    return {**given, **changed}


def test_the_user_s_optimiser_scheduler_and_model_stay_as_they_are():
    given = arguments()
    module = given["reference"]
    adam = torch.optim.Adam(module.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(adam, 0.9)
    module(torch.ones(2, 4)).sum().backward()
    adam.step()
    scheduler.step()
    before = copy.deepcopy((module.state_dict(), adam.state_dict(), scheduler.state_dict()))
    grads = [p.grad.clone() for p in module.parameters()]
    parity.check_training(**{**given, "optimizer": lambda p: adam, "scheduler": scheduler})
    after = module.state_dict(), adam.state_dict(), scheduler.state_dict()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert str(before[1:]) == str(after[1:])
    assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), grads, strict=True))


def test_batches_of_other_sizes_and_a_generator_are_drawn_once():
    rng = np.random.default_rng(0)
    sizes = iter([6, 3, 1])
    drawn = (
        (torch.tensor(rng.standard_normal((n, 4))), rng.standard_normal((n, 3)).astype("f")) for n in sizes
    )
    report = parity.check_training(**arguments(batches=drawn, steps=3))
    assert report.verdict is Verdict.PASS, str(report)


def test_float32_is_judged_and_needs_no_more_than_half_of_its_digits():
    given = arguments(settings=parity.Settings(), batches=batches())
    given["optimizer"] = (
        torch.optim.Adam(given["reference"].parameters(), lr=0.01), optax.adam(0.01)
    )  # fmt: skip
    report = parity.check_training(**given)
    assert report.verdict is Verdict.PASS, str(report)
    assert set(report.dtypes) == {"float64", "float32"}


def test_moments_that_the_author_keeps_in_bfloat16_are_a_fault():
    given = arguments()
    given["optimizer"] = (
        torch.optim.Adam(given["reference"].parameters(), lr=0.01), optax.adam(0.01, mu_dtype="bfloat16")
    )  # fmt: skip
    report = parity.check_training(**given)
    assert report.verdict is Verdict.FAIL, str(report)
    assert (report.parting.step, report.parting.phase) == (0, Phase.SLOTS), str(report)
    assert "in bfloat16 (`mu_dtype`, or a cast)" in report.parting.cause


def test_a_loss_that_is_not_finite_ends_the_run_with_step_and_rate():
    given = arguments(batches=batches())
    sgd = torch.optim.SGD(given["reference"].parameters(), lr=1e25)
    both = parity.check_training(**{**given, "optimizer": (sgd, optax.sgd(1e25))})
    assert both.verdict is Verdict.PASS, str(both)  # up to where it has diverged
    told = re.search(
        r"PyTorch's loss is inf at step \d+, after [^;]* at a rate of 1e\+25, .* from step (\d+) on",
        str(both.findings),
    )
    assert told is not None, both.findings
    (loss,) = (q for q in both.quantities if q.group == "loss" and str(q.stage) == "curve")
    assert len(loss.curve.reference) == int(told[1]) + 1
    tame = torch.optim.SGD(given["reference"].parameters(), lr=0.05)
    broken = optax.scale_by_schedule(lambda count: jnp.where(count == 6, jnp.nan, 1.0))
    one = parity.check_training(**{**given, "optimizer": (tame, optax.chain(optax.sgd(0.05), broken))})
    assert one.verdict is Verdict.FAIL, str(one)
    assert (one.parting.step, one.parting.phase) == (6, Phase.UPDATE), str(one)
    assert "NaN or infinity in JAX" in str(one.parting)


class Attention(torch.nn.Module):
    """Its keys' bias changes no output: a third of a packed tensor, whose gradient is rounding alone."""

    def __init__(self):
        super().__init__()
        self.packed = torch.nn.Linear(4, 12)

    def forward(self, x):
        q, k, v = self.packed(x).chunk(3, -1)
        return torch.softmax(q @ k.transpose(-1, -2), -1) @ v


def attention(params, x):
    q, k, v = jnp.split(x @ params["kernel"] + params["bias"], 3, -1)
    return jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2), -1) @ v


def test_gradients_that_are_rounding_alone_move_nothing_by_chance_and_all_weights_are_judged():
    torch.manual_seed(0)
    module, shape, rng = Attention(), jax.ShapeDtypeStruct, np.random.default_rng(0)
    drawn = [rng.standard_normal((2, 2, 5, 4)).astype(np.float32) for _ in range(6)]
    given = arguments(
        reference=module,
        candidate=attention,
        batches=[(x, y) for x, y in drawn],
        weights=parity.Weights(
            template={"kernel": shape((4, 12), "float32"), "bias": shape((12,), "float32")}
        ),
    )
    adam = torch.optim.Adam(module.parameters(), lr=0.01, eps=1e-20)
    right = parity.check_training(**{**given, "optimizer": (adam, optax.adam(0.01, eps=1e-20))})
    assert right.verdict is Verdict.PASS, str(right)
    assert "the gradient of packed.bias (4 of 12 numbers) is zero but for rounding" in str(right.findings)
    mask = {"kernel": True, "bias": False}
    decayed = torch.optim.AdamW(module.parameters(), lr=0.01, eps=1e-20, weight_decay=0.1)
    undecayed = optax.adamw(0.01, eps=1e-20, weight_decay=0.1, mask=mask)
    wrong = parity.check_training(**{**given, "optimizer": (decayed, undecayed)})
    assert wrong.verdict is Verdict.FAIL, str(wrong)
    assert wrong.parting.phase is Phase.UPDATE
    assert {q.name for q in wrong.failures() if q.group == "update"} == {"packed.bias"}


def test_a_tensor_that_jax_holds_twice_drifts_apart():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(7, 3)
            self.head = torch.nn.Linear(3, 7, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x):
            return self.head(torch.tanh(self.embedding(x)))

    def copied(params, x):
        return jnp.tanh(params["embedding"][x]) @ params["head"].T

    def tied(params, x):
        return jnp.tanh(params["embedding"][x]) @ params["embedding"].T

    torch.manual_seed(0)
    module, shape = Tied(), jax.ShapeDtypeStruct((7, 3), "float32")
    rng = np.random.default_rng(0)
    given = arguments(
        reference=module,
        optimizer=torch.optim.SGD(module.parameters(), lr=0.05),
        batches=[(rng.integers(0, 7, (4, 5)), rng.standard_normal((4, 5, 7)).astype("f")) for _ in range(3)],
    )
    right = parity.check_training(
        **{**given, "candidate": tied, "weights": parity.Weights(template={"embedding": shape})}
    )
    assert right.verdict is Verdict.PASS, str(right)
    template = {"embedding": shape, "head": shape}
    given |= {"candidate": copied, "weights": parity.Weights(template=template)}
    translated = parity.check_training(**given)  # to_optax moves both copies as the one tensor
    assert translated.verdict is Verdict.PASS, str(translated)
    report = parity.check_training(**{**given, "optimizer": (given["optimizer"], optax.sgd(0.05))})
    assert report.verdict is Verdict.FAIL, str(report)
    assert "PyTorch holds embedding.weight once, JAX holds it as embedding and head" in str(report.parting)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": None}, "`loss` is missing"),
        ({"optimizer": None}, "`optimizer` is missing"),
        ({"optimizer": 0.1}, "`optimizer` begins with a float; it must be a torch.optim optimiser"),
        ({"scheduler": 3}, "`scheduler` must be one of"),
        ({"clip": "1"}, "`clip` is a str; it must be the largest norm"),
        ({"clip": print}, "`clip` is a function, which cannot be translated"),
        ({"steps": 0}, "`steps` is 0; it must be at least 1"),
        ({"steps": 9}, "`steps` is 9 and `batches` has 3"),
        ({"accumulate": 0}, "`accumulate` is 0; it must be the number of batches"),
        ({"accumulate": 4}, "`steps` is 1 and `batches` has 3, of which a step takes 4"),
        ({"average": 2.0}, "`decay` is 2.0; it must be from 0 to 1"),
        ({"average": "ema"}, "`average` begins with a str"),
        ({"average": (0.9, 3 + 1j)}, "`average` ends with a complex"),
        ({"batches": []}, "`batches` is empty"),
        ({"batches": np.zeros((3, 2))}, "it must be an iterable of"),
        ({"batches": [np.zeros(3)]}, "batch 0 of `batches` is of type ndarray; each must be a pair"),
        ({"reference": mean_square}, "it must be a torch.nn.Module"),
        ({"oracles": {}}, "`oracles` cannot be used: two models have no curves"),
        ({"reference": parity.Subject(None, {})}, "`loss`, `optimizer` cannot be used: two programs train"),
    ],
)
def test_what_cannot_be_used_is_named(changed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        parity.check_training(**arguments(**changed))


def test_an_optimiser_of_another_model_is_refused():
    other = torch.nn.Linear(4, 3)
    with pytest.raises(ValueError, match="`optimizer` holds 2 parameters that the module does not have"):
        parity.check_training(**arguments(optimizer=torch.optim.SGD(other.parameters(), lr=0.1)))


def test_the_parting_is_in_every_form_of_the_report(tmp_path):
    report = report_of(FAULTS["another rate"])
    told = "parts at step 0, phase schedule: the rate is 0.05 in PyTorch and 0.1 in JAX"
    for name in ("report.json", "report.html", "report.xml"):
        report.save(tmp_path / name)
    assert json.loads((tmp_path / "report.json").read_text())["parting"]["phase"] == "schedule"
    for name in ("report.html", "report.xml"):
        assert told in (tmp_path / name).read_text().replace("\n", " "), name


def clamped(limit):
    def port(params, x):
        hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
        return jnp.minimum(hidden @ params["head"]["kernel"] + params["head"]["bias"], limit)

    return port


def test_a_fault_of_weights_that_are_reached_later_is_placed_there():
    """The clamp bites where training has moved the weights; at their start both models agree."""
    given = arguments(candidate=clamped(1.2), batches=batches(), settings=parity.Settings())
    given["batches"] = [(x, np.full_like(y, 2.0)) for x, y in given["batches"]]
    given["optimizer"] = torch.optim.SGD(given["reference"].parameters(), lr=0.3)
    report = parity.check_training(**given)
    assert report.parting.step > 0, str(report)
    assert report.parting.phase is Phase.OUTPUTS
    assert report.divergences


def test_a_fault_of_a_later_batch_of_a_step_is_placed_in_it():
    drawn = batches()[:4]
    drawn = [(40.0 * x if n % 2 else x, y) for n, (x, y) in enumerate(drawn)]
    outputs = [arguments()["reference"](torch.tensor(x)).detach() for x, _ in drawn[::2]]
    largest = max(float(rows.max()) for rows in outputs)
    report = parity.check_training(
        **arguments(candidate=clamped(largest + 1e-3), batches=drawn, accumulate=2)
    )
    assert report.parting.phase is Phase.OUTPUTS, str(report)
    assert report.divergences


def test_a_loss_that_is_rounded_on_one_side_has_its_step_and_phase():
    """float64 sees nothing of it: the rounding of a cast is lifted, and float32 alone fails."""

    def rounded(outputs, targets):
        return mean_square(outputs.astype("bfloat16"), targets.astype("bfloat16")).astype("float32")

    report = parity.check_training(**arguments(loss=(mean_square_torch, rounded), settings=parity.Settings()))
    assert report.verdict is Verdict.FAIL, str(report)
    assert (report.parting.step, report.parting.phase) == (0, Phase.LOSS)
