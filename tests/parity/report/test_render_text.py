"""The plain text of a report: the place and the cause first, in lines of 100 columns."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from parity.report.folding import WIDTH, folded
from parity.report.json import plain
from parity.report.locations import printable
from parity.report.results import (
    AS_STORED,
    Cause,
    CauseKind,
    Curve,
    Divergence,
    Environment,
    Growth,
    Kind,
    Place,
    Quantity,
    Report,
    Stage,
    Verdict,
    once_each,
)
from parity.report.sentences import advice, answer, headline_place
from parity.report.text import FEW, MOST, describe, environment_line
from tests.parity.report.sample_reports import EXAMPLES, HOSTILE, failed, passed, quantity, stopped, trained


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("plan", [False, True])
def test_lines_are_of_at_most_100_columns_and_hold_no_control_character(name: str, plan: bool) -> None:
    text = describe(EXAMPLES[name](), plan=plan)
    assert max(map(len, text.splitlines())) <= WIDTH == 100
    assert {c for c in text if not c.isprintable()} <= {"\n"}


def test_a_divergence_reads_as_a_person_would_tell_it() -> None:
    divergence = Divergence(
        "forward",
        (Place("aten.native_layer_norm", "encoder.layer.3.norm", "model.py", 41, "x = self.norm(x)"),),
        (Place("rsqrt", "", "model_jax.py", 88, "h = layer_norm(h, eps=1e-6)"),),
        relative_error=4.6e-6,
        relative_yardstick=1e-14,
        cause=Cause("epsilon", "1e-06 in JAX, 1e-05 in PyTorch", 3e-16),
    )
    report = Report("bert", (quantity("output", 3e8),), divergences=(divergence,))
    assert describe(report).splitlines()[:6] == [
        "bert: FAIL",
        "  first divergence (forward): all inputs agree, the output does not",
        "    PyTorch  encoder.layer.3.norm   model.py:41       x = self.norm(x)",
        "    JAX      rsqrt                  model_jax.py:88   h = layer_norm(h, eps=1e-6)",
        "    error    4.6e-06 relative; rounding alone explains up to 1e-14",
        "    cause    epsilon: 1e-06 in JAX, 1e-05 in PyTorch; with that changed, both sides agree to 3e-16",
    ]


def test_every_divergence_is_told_with_its_places_and_what_is_known() -> None:
    text = describe(failed())
    for part in (
        "divergence 2 of 2 (forward): all inputs agree, the output has the same numbers in another order",
        "pooler (scan step 2)",
        "/home/ada/port/model_jax.py:131",
        "shapes   (2, 12, 64, 64) in PyTorch, (2, 64, 12, 64) in JAX",
        "detail   PyTorch has (batch, heads, tokens, features)",
        "finding: the JAX model computes attention scores in float32",
    ):
        assert part in text
    assert text.count("model_jax.py:88") == 1  # two operations of one line are one place


def test_only_few_consequences_are_listed_where_the_place_is_known() -> None:
    failures = len(failed().failures())
    assert f"... and {failures - FEW} more with verdict fail" in describe(failed())
    placeless = dataclasses.replace(failed(), divergences=())
    assert f"... and {failures - MOST} more with verdict fail" in describe(placeless)


def test_what_only_one_side_computes_says_which() -> None:
    place = Place("add", "head", "jax_model.py", 3, "x + 1")
    assert "only JAX computes this" in describe(_diverging(Divergence("forward", (), (place,), "extra")))
    assert "only PyTorch computes this" in describe(_diverging(Divergence("forward", (place,), (), "extra")))


def test_more_places_than_fit_are_counted() -> None:
    places = tuple(Place("add", "head", "jax_model.py", n, "x + 1") for n in range(1, 8))
    report = _diverging(Divergence("forward", (), places))
    text = describe(report)
    assert "jax_model.py:1 " in text
    assert "jax_model.py:2" not in text
    assert "6 more places, with --verbose" in text
    assert all(f"jax_model.py:{n} " in describe(report, verbose=True) for n in range(1, 8))
    assert "more places" not in describe(report, verbose=True)


def _diverging(*divergences: Divergence) -> Report:
    return Report("r", (quantity("output", 3e8),), divergences=divergences)


def test_one_line_that_many_modules_run_is_one_fault() -> None:
    def norm(module: str, eps: str = "1e-6") -> Divergence:
        cause = Cause("epsilon", f"eps is {eps} in JAX", 0.0)
        places = (Place("norm", module, "model.py", 3),), (Place("add", module, "port.py", 7),)
        return Divergence("forward", *places, cause=cause)

    first, second, other = norm("layer.0"), norm("layer.1"), norm("layer.2", "1e-3")
    assert once_each([first, second, other]) == [[first, second], [other]]
    text = describe(_diverging(first, second, other))
    assert "divergence 2 of 2" in text
    assert "also in  layer.1" in text
    unknown = Divergence("forward", first.reference, first.candidate)
    assert len(once_each([unknown, unknown])) == 2, "without a cause nobody knows whether it is the same"


def test_one_line_to_mend_is_one_fault_whatever_lines_of_the_reference_it_meets() -> None:
    cause = Cause("constant", "the number is 8 in JAX and 4 in PyTorch", 0.0)

    def called(reference_line: int, line: int) -> Divergence:
        places = (Place("pow", "", "model.py", reference_line),), (Place("div", "", "port.py", line),)
        return Divergence("forward", *places, cause=cause)

    first, again, other = called(3, 7), called(4, 7), called(3, 8)
    assert once_each([first, again]) == [[first, again]]
    assert once_each([first, called(4, 8)]) == [[first], [called(4, 8)]], "two lines are to be mended"
    assert once_each([again, other]) == [[again], [other]]
    assert "also in  another call of this line" in describe(_diverging(first, again))


def test_a_path_below_the_working_directory_is_shortened_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    near = Place("mm", "head", os.path.join(tmp_path, "port", "model.py"), 3)
    far = Place("mm", "head", "/elsewhere/model.py", 4)
    text = describe(_diverging(Divergence("forward", (near,), (far,))))
    assert f"{os.path.join('port', 'model.py')}:3" in text
    assert str(tmp_path) not in text
    assert "/elsewhere/model.py:4" in text


def test_a_long_path_keeps_its_end() -> None:
    place = Place("mm", "head", f"/{'long/' * 40}model.py", 1234, "y = x @ w")
    text = describe(_diverging(Divergence("forward", (place,), ())))
    assert "   .../long/" in text
    assert "/long/model.py:1234" in text


def test_the_plan_is_told_when_asked() -> None:
    assert "permute (1, 0)" not in describe(failed())
    lines = describe(failed(), plan=True).splitlines()
    row = next(line for line in lines if "encoder.layer.11.attention.query.bias " in line)
    assert row.split() == [
        *("encoder.layer.11.attention.query.bias", "->", "encoder/layer_11/attention/query/bias", "as"),
        *("it", "is"),
    ]


def test_the_environment_is_one_line_with_the_devices_that_ran() -> None:
    line = environment_line(passed())
    assert "numpy 2.4.6; torch on cpu (2 cores), jax on cpu; jax matmul precision highest" in line
    alone = dataclasses.replace(passed(), environment=Environment({"jax": "0.10.2"}, {"JAX": "cpu"}, {}))
    assert environment_line(alone) == "jax 0.10.2; jax on cpu"
    assert environment_line(Report("r", ())) == "nothing ran"
    assert passed().as_dict()["environment"]["devices"] == {"PyTorch": "cpu (2 cores)", "JAX": "cpu"}


def test_an_error_keeps_its_lines() -> None:
    assert describe(stopped()).splitlines()[:3] == [
        "encoder: ERROR",
        "  TypeError: dot_general requires contracting dimensions to have the same shape, got (3,) and (4,).",
        "    at model_jax.py:12",
    ]


def test_long_lines_are_broken_between_words_and_nothing_is_lost() -> None:
    line = "  " + " ".join(f"word{i}" for i in range(60))
    assert " ".join(folded([line])).split() == line.split()
    assert all(part.startswith("      word") for part in folded([line])[1:])
    assert "".join(folded(["x" * 250])).replace(" ", "") == "x" * 250


def test_the_answer_is_one_sentence_for_every_verdict() -> None:
    weights = Quantity("weights", "weights", "w", AS_STORED, Verdict.FAIL, 1e9, 1.0, 1.0)
    narrow = [quantity("w", 0.1), quantity("w", 40.0, "float32")]
    hidden = [quantity("a", 1.0), quantity("b", 1.0, verdict=Verdict.INCONCLUSIVE)]
    expected = {
        "compute the same thing: weights, outputs and gradients agree within rounding in float64 and "
        "float32.": passed(),
        "No answer: the comparison stopped": stopped(),
        "No answer: nothing was compared.": Report("r", ()),
        "model_jax.py:88, and its cause is known: epsilon.": failed(),
        "first the curve train_loss in float64 from point 17 on": trained(),
        "The JAX model does not hold PyTorch's weights: the values differ in w.": Report("r", (weights,)),
        "the same function in float64, but the JAX side loses more accuracy": Report("r", tuple(narrow)),
        "Nothing certain can be said about 1 of 2": Report("r", tuple(hidden)),
        "the difference exceeds rounding in 1 of 2 compared quantities, first the gradient of v": Report(
            "r", (quantity("w", 0.1), quantity("v", 99.0))
        ),
    }
    for part, report in expected.items():
        assert part in answer(report)
        assert answer(report).endswith(".")


def test_no_failure_is_put_down_to_accuracy_when_float64_did_not_agree() -> None:
    unsure = quantity("w", 0.1, verdict=Verdict.INCONCLUSIVE)
    report = Report("r", (unsure, quantity("w", 40.0, "float32")))
    assert "same function" not in answer(report)
    assert "do not compute the same thing" in answer(report)


def test_a_place_where_accuracy_is_lost_leaves_the_two_the_same_function() -> None:
    lost = Divergence("forward", (), (Place("exp", file="port.py", line=3),), "accuracy", "in float32: more")
    report = Report("r", (quantity("w", 0.1), quantity("w", 40.0, "float32")), divergences=(lost,))
    assert answer(report).startswith("The two programs are the same function in float64, but the JAX side")
    assert answer(report).endswith("in float32, first in the forward pass, at port.py:3.")


def test_a_place_without_a_line_is_named_by_its_layer_or_else_by_its_operation() -> None:
    assert headline_place(Divergence("forward", (Place("aten.mm", "head"),), ())) == "layer `head` (mm)"
    assert headline_place(Divergence("forward", (Place("aten.mm"),), ())) == "mm"
    assert headline_place(Divergence("forward", (), ())) == "an unknown place"


def test_where_no_cause_is_known_the_advice_fits_the_kind() -> None:
    told = {advice(Divergence("forward", (), (), kind)) for kind in Kind}
    assert len(told) == len(Kind) == 6


def test_a_word_becomes_the_stage_or_the_kind_it_stands_for_and_no_other_word_passes() -> None:
    place = Place("mm")
    assert quantity("w", 1.0, stage="step").stage is Stage.STEP
    assert Divergence("forward", (), (), "order").kind is Kind.ORDER
    assert Cause("gate order", "swap them", 0.0).name is CauseKind.GATE_ORDER
    assert Growth("gradients", place, place, 0.0, 0.0, True).stage is Stage.GRADIENTS
    for made in (
        lambda: quantity("w", 1.0, stage="outputs"),
        lambda: Divergence("forward", (), (), "another kind"),
        lambda: Divergence("outputs", (), ()),
        lambda: Cause("another cause", "", 0.0),
        lambda: Growth("outputs", place, place, 0.0, 0.0, True),
    ):
        with pytest.raises(ValueError, match="is not a valid"):
            made()
    words = json.loads(json.dumps(plain(failed().as_dict())))
    assert [d["kind"] for d in words["divergences"]] == ["value", "order"]
    assert words["divergences"][0]["cause"]["name"] == "epsilon"
    assert words["quantities"][0]["stage"] == "weights"


def test_control_characters_become_escapes_and_letters_stay() -> None:
    assert printable("Größe 層 é\n\tok") == "Größe 層 é\n\tok"
    shown = printable(HOSTILE)
    assert shown.isprintable()
    assert r"\x1b[31m\u202e\ud800" in shown


def test_at_most_one_place_per_side_is_shown_and_the_rest_counted() -> None:
    torch = tuple(Place("mm", f"layer.{n}", "model.py", n, "x @ w") for n in range(1, 4))
    jax = tuple(Place("add", "", "port.py", n, "x + b") for n in range(1, 4))
    text = describe(_diverging(Divergence("forward", torch, jax)))
    assert (text.count("model.py:"), text.count("port.py:")) == (1, 1)
    assert "    4 more places, with --verbose" in " ".join(text.split(" "))


def test_a_layer_of_a_library_has_its_class_and_settings() -> None:
    gelu = Place("aten.gelu", "1", layer="GELU(approximate='none')")
    report = _diverging(Divergence("forward", (gelu,), (Place("mul", file="port.py", line=3),)))
    assert "PyTorch  layer `1`: GELU(approximate='none')" in describe(report)
    assert "at layer `1`: GELU(approximate='none'), port.py:3." in answer(report)


def test_where_no_cause_is_known_the_text_says_what_to_do() -> None:
    place = Place("add", "head", "port.py", 3, "x + 1")
    unknown = Divergence("forward", (place,), (place,))
    assert f"to do    {advice(unknown)[:40]}" in describe(_diverging(unknown))
    known = dataclasses.replace(unknown, cause=Cause("epsilon", "eps is 1e-6", 0.0))
    assert "to do" not in describe(_diverging(known))


def test_one_fault_in_many_layers_is_told_once_with_a_count() -> None:
    def gelu(n: int) -> Divergence:
        place = Place("aten.gelu", f"block.{n}", layer="GELU(approximate='none')")
        return Divergence("forward", (place,), (place,), cause=Cause("activation", "use tanh", 0.0))

    faults = [gelu(n) for n in range(12)]
    text = describe(_diverging(*faults))
    assert "divergence 2" not in text
    assert "also in  block.1, block.2, block.3 and 8 more, with --verbose" in text
    assert "block.11" in describe(_diverging(*faults), verbose=True)
    other = dataclasses.replace(faults[1].reference[0], layer="GELU(approximate='tanh')")
    assert len(once_each([faults[0], dataclasses.replace(faults[1], reference=(other,))])) == 2


def test_what_many_quantities_say_alike_is_one_note_with_a_count() -> None:
    notes = [f"stability: the JAX side moves {n}e+05 times as far" for n in range(1, 21)]
    passing = [quantity(f"w{n}", 0.1, notes=(note,)) for n, note in enumerate(notes)]
    text = describe(Report("r", tuple(passing)), width=200)
    assert text.count("note:") == 1
    assert "note: w0: stability: the JAX side moves 1e+05 times as far (and 19 more like it" in text
    assert all(note in describe(Report("r", tuple(passing)), width=200, verbose=True) for note in notes)
    failing = [quantity(f"w{n}", 99.0, notes=(note,)) for n, note in enumerate(notes)]
    text = describe(Report("r", tuple(failing)), width=200)
    assert text.count("stability:") == 1
    assert "(and 19 more like it, with --verbose)" in text


def test_a_quantity_that_fails_in_every_precision_is_listed_once() -> None:
    failing = [quantity("w", 99.0), quantity("w", 98.0, "float32"), quantity("v", 97.0, "float32")]
    text = describe(Report("r", tuple(failing)))
    listed = [line for line in text.splitlines() if line.startswith("  FAIL")]
    assert [line.split(":")[0] for line in listed] == [
        "  FAIL gradients, float64",
        "  FAIL gradients, float32",
    ]
    assert "... and 1 more with verdict fail (--verbose)" in text


@pytest.mark.parametrize("verdict", Verdict)
def test_the_doubtful_lines_of_the_plan_are_shown_unless_the_verdict_is_pass(verdict: Verdict) -> None:
    doubts = tuple((f"w{n}", f"k{n}", "as it is: settled by running") for n in range(8))
    report = Report("r", (quantity("w", 1.0, verdict=verdict),), plan=doubts * 2, doubts=doubts)
    text = describe(report)
    if verdict is Verdict.PASS:
        assert "doubtful" not in text
        return
    assert "8 of 16 lines of the weight plan are doubtful" in text
    assert "w0 -> k0  as it is: settled by running" in text
    assert "... and 2 more, with --verbose" in text
    assert "w7 -> k7" in describe(report, verbose=True)
    assert "doubtful" not in describe(dataclasses.replace(report, doubts=()))


def test_nothing_is_lost_with_verbose() -> None:
    report = failed()
    text = describe(report, verbose=True, plan=True, width=10_000)
    assert all(f"{q.stage}, {q.dtype}: {q.name}" in text for q in report.quantities)
    assert all(note in text for q in report.quantities for note in q.notes)


def test_weights_converted_with_one_mistake_are_one_fault() -> None:
    def rounded(name: str) -> Divergence:
        text = f"rounded to bfloat16: {name}/kernel needs `permute (1, 0)` of {name}.weight in float32"
        places = (Place("weight", f"{name}.weight"),), (Place("weight", f"{name}/kernel"),)
        return Divergence("weights", *places, cause=Cause("dtype", text, 0.0))

    other = dataclasses.replace(rounded("c"), cause=Cause("dtype", "rounded to float16: in float32", 0.0))
    assert [len(fault) for fault in once_each([rounded("a"), rounded("b"), other])] == [2, 1]
    text = describe(_diverging(rounded("a"), rounded("b")))
    assert "divergence 2" not in text
    assert "also in  b.weight" in text


def test_many_steps_of_a_loop_are_counted() -> None:
    place = Place("mul", "", "port.py", 3, step="scan step 0")
    steps = "; ".join(f"scan step {n}" for n in range(1, 100))
    report = _diverging(Divergence("forward", (place,), (place,), detail=f"also in {steps}"))
    assert "scan step 3 and 96 more, with --verbose" in describe(report, width=200)
    assert "scan step 99" in describe(report, verbose=True)


def test_the_settings_of_a_layer_are_never_cut() -> None:
    layer = "Conv2d(4, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=4, bias=False)"
    report = _diverging(Divergence("forward", (Place("conv", "depthwise", "m.py", 1, layer=layer),), ()))
    assert layer in " ".join(describe(report, width=60).split())


def test_a_library_layer_is_the_same_fault_wherever_it_is_called() -> None:
    def norm(module: str, line: int) -> Divergence:
        layer = Place("norm", module, "model.py", line, layer="LayerNorm((8,), eps=1e-06)")
        port = Place("add", "", "port.py", 22)
        return Divergence("forward", (layer,), (port,), cause=Cause("epsilon", "eps is 1e-5", 0.0))

    assert [len(fault) for fault in once_each([norm("a.norm", 12), norm("norm", 19)])] == [2]


def test_advice_is_given_once_and_why_there_is_no_place_stands_in_its_stead() -> None:
    one, other = (Divergence("forward", (), (Place("add", "", "port.py", n),)) for n in (3, 4))
    text = describe(_diverging(one, other), width=200)
    assert text.count(advice(one)) == 1
    assert "to do    as above" in text
    why = "the place was not found because of a bug of the harness"
    report = Report("r", (quantity("w", 99.0),), findings=("another", why), unplaced=why)
    lines = describe(report, width=200).splitlines()
    assert (lines[2], lines.count(f"  finding: {why}")) == (f"  {why}", 0)
    assert "  finding: another" in lines


def test_training_that_rounding_carries_away_says_from_which_step():
    curve = Curve((1.0,) * 9, (1.0,) * 9, (1.0,) * 9, (0.0,) * 9)
    step = dataclasses.replace(quantity("w", 0.1), stage=Stage.STEP, curve=curve)
    free = dataclasses.replace(
        quantity("w", 0.1, verdict=Verdict.INCONCLUSIVE),
        stage=Stage.CURVE,
        dtype="float32",
        curve=dataclasses.replace(curve, horizon=7),
    )
    told = answer(Report("training", (step, free)))
    assert told.startswith("Every step from equal weights agrees")
    assert "from step 7 on in float32" in told
    once = dataclasses.replace(step, curve=None)  # of two programs the first step alone
    assert answer(Report("training", (once, free))).startswith("Nothing certain")
