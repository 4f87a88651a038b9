"""`check_init`: right ports start alike, each planted fault is found and named at its leaf."""

import json
import re
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from parity.pipeline.pairs import match
from parity.report.json import plain
from parity.report.results import Stage, Verdict
from parity.report.text import describe
from tests.parity.pipeline.starts import FAULTS, RIGHT, STACK, LinenMlp, Mlp, NnxMlp, tree

DRAWS = 22
"""Fewer than the default, for the time that they take."""


@pytest.mark.parametrize("name", RIGHT)
def test_right_ports_start_alike(name: str) -> None:
    report = parity.check_init(*RIGHT[name], draws=DRAWS)
    assert report.verdict is Verdict.PASS, str(report)
    assert all(q.stage is Stage.INIT and not q.notes for q in report.quantities)


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found_and_named_at_their_leaf(name: str) -> None:
    reference, candidate, leaves, words = FAULTS[name]
    report = parity.check_init(reference, candidate, draws=DRAWS)
    assert {q.name for q in report.failures(Stage.INIT)} == leaves, str(report)
    notes = "\n".join(note for q in report.failures() for note in q.notes)
    for word in words:
        assert re.search(word, notes), notes


def two_leaves(rng: np.random.Generator, shape: float = 1.0) -> dict[str, np.ndarray]:
    """A leaf of independent entries, an orthogonal one, and a table that is the same in every draw."""
    return {
        "free": shape * rng.uniform(-1, 1, (4, 6)).astype("float32"),
        "turned": np.linalg.qr(rng.standard_normal((5, 3)))[0].astype("float32"),
        "table": np.arange(6, dtype="float32"),
    }


def drawn_by_numpy(seed: int) -> dict[str, np.ndarray]:
    return two_leaves(np.random.default_rng(seed))


def test_false_alarms_are_no_more_than_said() -> None:
    """At a rate that can be counted; what holds at one rate holds at all, for the levels are exact.

    Of 1,063 checks that were run once, 60 failed at 0.2 and 6 at 0.02: Bonferroni's bound is a bound.
    """
    rate, number = 0.2, 60
    alarms = 0
    for seed in range(number):
        report = parity.check_init(drawn_by_numpy, drawn_by_numpy, draws=12, seed=seed, false_alarms=rate)
        alarms += report.verdict is not Verdict.PASS
    assert alarms <= rate * number + 3 * (rate * number) ** 0.5
    assert alarms > 0, "the test cannot fail"


def test_the_rate_of_the_default_is_one_in_ten_thousand() -> None:
    for seed in range(8):
        assert parity.check_init(drawn_by_numpy, drawn_by_numpy, draws=16, seed=seed).verdict is Verdict.PASS


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = (parity.check_init(drawn_by_numpy, drawn_by_numpy, seed=3).quantities for _ in range(2))
    assert [(q.name, q.verdict) for q in first] == [(q.name, q.verdict) for q in second]


def test_a_table_must_be_the_same_number_for_number() -> None:
    def other(seed: int) -> dict[str, np.ndarray]:
        drawn = drawn_by_numpy(seed)
        drawn["table"][4] += 0.01
        return drawn

    (failed,) = parity.check_init(drawn_by_numpy, other).failures()
    assert failed.name == "table"
    assert "has the same numbers in every draw" in failed.notes[0]


def test_a_leaf_that_forgets_its_seed_is_named() -> None:
    def forgetful(seed: int) -> dict[str, np.ndarray]:
        return {**drawn_by_numpy(seed), "free": drawn_by_numpy(0)["free"]}

    (failed,) = parity.check_init(drawn_by_numpy, forgetful).failures()
    assert failed.name == "free"
    assert "do not depend on the seed" in failed.notes[1]


def test_copies_on_the_reference_alone_are_named() -> None:
    report = parity.check_init(RIGHT["stack"][0], tree(STACK, split=False), draws=DRAWS)
    turned = parity.check_init(tree(STACK, split=False), RIGHT["stack"][0], draws=DRAWS)
    assert report.verdict is turned.verdict is Verdict.FAIL
    assert "PyTorch draws each by itself" in turned.quantities[0].notes[0]


def test_weights_and_plans_pair_what_names_do_not() -> None:
    def renamed(key: jax.Array) -> Any:
        drawn = RIGHT["mlp"][1](key)
        return {"a": drawn["down"], "b": drawn["norm"], "c": drawn["up"]}

    pins = {"up.weight": "c/kernel", "up.bias": "c/bias", "down.weight": "a/kernel", "down.bias": "a/bias"}
    pins |= {"norm.weight": "b/scale", "norm.bias": "b/bias"}
    report = parity.check_init(Mlp, renamed, weights=parity.Weights(pins=pins), draws=DRAWS)
    assert report.verdict is Verdict.PASS, str(report)
    plan = match(
        Mlp(), lambda params, x: x, parity.Weights(pins=pins, template=renamed(jax.random.key(0)))
    ).plan
    assert parity.check_init(Mlp, renamed, plan=plan, draws=DRAWS).verdict is Verdict.PASS
    with pytest.raises(parity.WeightError, match="draws no"):
        parity.check_init(Mlp, RIGHT["mlp"][1], plan=plan)


def test_weights_without_a_partner() -> None:
    def shorter(key: jax.Array) -> Any:
        return {name: one for name, one in RIGHT["mlp"][1](key).items() if name != "norm"}

    with pytest.raises(parity.WeightError, match=r"norm\.weight"):
        parity.check_init(Mlp, shorter)
    report = parity.check_init(Mlp, shorter, weights=parity.Weights(unused=["norm.*"]), draws=DRAWS)
    assert report.verdict is Verdict.PASS
    assert "norm.weight" in report.not_checked[0]


def test_the_report_reads_and_is_written_like_the_others(tmp_path: Path) -> None:
    report = parity.check_init(*FAULTS["I01 in nnx"][:2], draws=DRAWS)
    text = describe(report, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "do not start alike: 4 of 6 pairs of weights" in " ".join(text.split())
    assert "rho" not in text
    data = json.loads(json.dumps(plain(report.as_dict())))
    assert data["verdict"] == "fail"
    assert [row["stage"] for row in data["quantities"]] == ["init"] * 6
    for ending in ("html", "json", "xml"):
        report.save(tmp_path / f"report.{ending}")
    assert "nan" not in (tmp_path / "report.xml").read_text()
    with pytest.raises(parity.ParityError, match=r"sqrt\(3\)"):
        parity.assert_init_parity(*FAULTS["I01 in nnx"][:2], draws=DRAWS)
    assert parity.assert_init_parity(*RIGHT["mlp"], draws=DRAWS).verdict.exit_code == 0


def test_nothing_is_left_changed() -> None:
    def changing(seed: int) -> nn.Module:
        torch.set_default_dtype(torch.float64)
        np.random.seed(seed)  # noqa: NPY002
        return Mlp().float()

    # Not Python's own generator: beartype, which runs in tests, draws from it.
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    report = parity.check_init(Mlp, changing, draws=DRAWS)
    assert report.verdict is Verdict.PASS
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.get_default_dtype() is torch.float32


class WithKey(eqx.Module):
    weight: jax.Array

    def __init__(self, *, key: jax.Array) -> None:
        self.weight = jax.random.uniform(key, (16, 16), minval=-0.25, maxval=0.25)


@pytest.mark.parametrize(
    "candidate",
    [
        WithKey,
        lambda key: WithKey(key=key),
        lambda seed: {"weight": torch.empty(16, 16).uniform_(-0.25, 0.25)},
        lambda: nn.Linear(16, 16, bias=False),
        lambda rngs: {"weight": jax.random.uniform(rngs.params(), (16, 16), minval=-0.25, maxval=0.25)},
        lambda k: [jax.random.uniform(k, (16, 16), minval=-0.25, maxval=0.25)],
        lambda rng=None: {"weight": jax.random.uniform(rng, (16, 16), minval=-0.25, maxval=0.25)},
    ],
)
def test_what_a_side_may_take_and_return(candidate: Any) -> None:
    report = parity.check_init(lambda: nn.Linear(16, 16, bias=False), candidate, draws=16)
    assert report.verdict is Verdict.PASS, str(report)


def test_a_state_of_nnx_is_params_too() -> None:
    state = parity.check_init(Mlp, lambda key: nnx.state(NnxMlp(nnx.Rngs(key))), draws=16)
    assert state.verdict is Verdict.PASS, str(state)


def test_weights_in_bfloat16_are_as_precise_as_they_are() -> None:
    def narrow(key: jax.Array) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), RIGHT["mlp"][1](key))

    report = parity.check_init(lambda: Mlp().bfloat16(), narrow, draws=DRAWS)
    assert report.verdict is Verdict.PASS, str(report)


def broken_leaf(seed: int) -> dict[str, np.ndarray]:
    return {**drawn_by_numpy(seed), "table": np.full(6, np.nan, "float32")}


def sized(seed: int) -> dict[str, np.ndarray]:
    return {"w": np.random.default_rng(seed).standard_normal((2 + seed % 7, 3))}


@pytest.mark.parametrize(
    ("reference", "candidate", "arguments", "error", "message"),
    [
        (Mlp(), NnxMlp, {}, TypeError, r"exists already.*`lambda: Net\(\.\.\.\)`, or the class"),
        (Mlp, NnxMlp(nnx.Rngs(0)), {}, TypeError, "exists already.*in NNX"),
        (Mlp, LinenMlp(), {}, TypeError, "`lambda key: module.init"),
        (Mlp, lambda key: LinenMlp(), {}, TypeError, "returned a Flax Linen module"),
        (Mlp, {"w": np.zeros(3)}, {}, TypeError, "the candidate is of type dict"),
        (nn.Linear, NnxMlp, {}, TypeError, "the reference needs `in_features`, `out_features`"),
        (Mlp, lambda key: None, {}, TypeError, "returned None"),
        (Mlp, lambda key: {}, {}, TypeError, "without floating weights"),
        (
            Mlp,
            lambda: NnxMlp(nnx.Rngs(0)),
            {"draws": 16},
            ValueError,
            "candidate draws the same weights from every seed",
        ),
        (drawn_by_numpy, lambda: drawn_by_numpy(0), {}, ValueError, "candidate draws the same weights"),
        (sized, sized, {}, ValueError, "(draws other weights from another seed: w differ|do not pair up)"),
        (drawn_by_numpy, broken_leaf, {}, ValueError, "the candidate draws NaN in table"),
        (Mlp, NnxMlp, {"draws": 0}, ValueError, "`draws` is 0; it must be a whole number from 8"),
        (Mlp, NnxMlp, {"draws": 8}, ValueError, "`draws` is 8: with so many leaves.*are enough"),
        (Mlp, NnxMlp, {"seed": -1}, ValueError, "`seed` is -1"),
        (Mlp, NnxMlp, {"false_alarms": 0}, ValueError, "`false_alarms` is 0"),
        (Mlp, NnxMlp, {"weights": {}}, TypeError, "must be a parity.Weights"),
        (Mlp, NnxMlp, {"weights": parity.Weights(template={})}, ValueError, "`weights` has template"),
        (Mlp, NnxMlp, {"plan": "up"}, TypeError, "what parity.plan_weights returns"),
    ],
)
def test_bad_input_is_an_error_to_act_on(
    reference: Any, candidate: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parity.check_init(reference, candidate, **arguments)


def test_what_a_side_raises_names_it() -> None:
    def broken(key: jax.Array) -> Any:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError) as raised:
        parity.check_init(Mlp, broken)
    assert raised.value.__notes__ == ["raised by the candidate model while its initial weights were drawn"]
