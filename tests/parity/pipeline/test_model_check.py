"""`parity.check`: right pairs pass; each planted fault fails at the right leaf and stage."""

import traceback
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from parity.report.results import STAGES, Verdict
from tests.kit.errors import told


def failing(report: parity.Report, stage: str, program: str = "candidate") -> set[str]:
    return {q.name for q in report.failures(stage, "float64") if q.program == program}


def test_a_right_pair_passes_in_every_stage_and_dtype(pair: Any) -> None:
    report = pair.check()
    assert report.verdict is Verdict.PASS, str(report)
    assert report.dtypes == ("float64", "float32")
    for dtype in report.dtypes:
        names = {q.name for q in report.select("gradients", dtype)}
        probe = {"all 4 weights"} if dtype == "float64" else set()  # by finite differences
        assert names == {"0.weight", "0.bias", "2.weight", "2.bias"} | probe
        assert {q.name for q in report.select("forward", dtype)} == {"output", "loss"}
        assert all(q.rho <= 10 for q in report.select(dtype=dtype))
    partners = {q.name: q.candidate_name for q in report.select("gradients")}
    assert partners["0.weight"] == "hidden/kernel"
    assert report.environment is not None
    assert report.environment.settings["jax matmul precision"] == "highest"


def test_assert_parity_returns_the_report_or_raises_with_it(pair: Any) -> None:
    arguments = {"weights": parity.Weights(template=pair.template)}
    assert (
        parity.assert_parity(pair.reference, pair.candidate, pair.inputs, **arguments).verdict is Verdict.PASS
    )
    with pytest.raises(parity.ParityError, match=r"FAIL.*forward.*output") as caught:
        parity.assert_parity(
            pair.reference, lambda p, x: 1.001 * pair.candidate(p, x), pair.inputs, **arguments
        )
    assert caught.value.report.verdict is Verdict.FAIL


def test_transposed_square_kernel_is_named(pair: Any, converted: dict[str, Any]) -> None:
    assert pair.check(weights=parity.Weights(params=converted)).verdict is Verdict.PASS
    converted["hidden"]["kernel"] = converted["hidden"]["kernel"].T.copy()
    report = pair.check(weights=parity.Weights(params=converted))
    (fault,) = report.failures("weights")
    assert (fault.name, fault.candidate_name) == ("0.weight", "hidden/kernel")
    assert "transposed" in fault.notes[0]
    assert "output" in failing(report, "forward")


def test_permuted_and_unloaded_weights_are_named(pair: Any, converted: dict[str, Any]) -> None:
    converted["hidden"]["bias"] = converted["hidden"]["bias"][::-1].copy()
    converted["output"]["bias"] = np.zeros(3, np.float32)
    report = pair.check(weights=parity.Weights(params=converted))
    notes = {q.candidate_name: q.notes[0] for q in report.failures("weights")}
    assert "flipped" in notes["hidden/bias"]
    assert "loaded?" in notes["output/bias"]
    assert len(notes) == 2


def test_sum_instead_of_mean_shows_in_loss_and_all_gradients_with_the_factor(pair: Any) -> None:
    def summed(logits: jax.Array, labels: jax.Array) -> jax.Array:
        chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
        return jnp.sum(jax.nn.logsumexp(logits, axis=1) - chosen)

    report = pair.check(loss=(nn.functional.cross_entropy, summed))
    assert failing(report, "forward") == {"loss"}
    assert failing(report, "gradients") == {"0.weight", "0.bias", "2.weight", "2.bias"}
    for quantity in report.failures("gradients", "float64"):
        if quantity.program == "candidate":
            assert any("JAX = 7 x PyTorch" in note for note in quantity.notes)


def test_wrong_gradient_of_one_leaf_is_named_also_by_finite_differences(pair: Any) -> None:
    @jax.custom_jvp
    def tanh(t: jax.Array) -> jax.Array:
        return jnp.tanh(t)

    tanh.defjvps(lambda g, h, t: g * (1 - h) ** 2)  # the value is right, the derivative is not

    def wrong(params: Any, x: jax.Array) -> jax.Array:
        h = tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
        return h @ params["output"]["kernel"] + params["output"]["bias"]

    report = pair.check(candidate=wrong)
    assert failing(report, "forward") == set()
    assert failing(report, "gradients") == {"0.weight", "0.bias"}
    assert failing(report, "gradients", "candidate against finite differences") == {"0.weight", "0.bias"}
    assert failing(report, "gradients", "reference against finite differences") == set()


def test_an_oracle_that_both_frameworks_contradict_is_caught(pair: Any) -> None:
    def by_hand(params: Any, x: jax.Array, labels: jax.Array) -> Any:
        return jax.grad(lambda p: jnp.sum(pair.candidate(p, x)))(params)

    report = pair.check(oracles={"by hand": parity.Oracle(pair.candidate, pair.template, by_hand)})
    assert failing(report, "gradients") == set()
    assert "2.weight" in failing(report, "gradients", "by hand")


def test_channel_last_flatten_is_seen_as_another_order() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten())
    template = {"kernel": jax.ShapeDtypeStruct((3, 3, 2, 3), jnp.float32), "bias": jnp.zeros(3)}

    def conv(params: Any, x: jax.Array) -> jax.Array:
        out = jax.lax.conv_general_dilated(
            x, params["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return out + params["bias"]

    def right(params: Any, x: jax.Array) -> jax.Array:
        return conv(params, x).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)

    def wrong(params: Any, x: jax.Array) -> jax.Array:
        return conv(params, x).reshape(x.shape[0], -1)

    x = np.random.default_rng(0).standard_normal((2, 2, 5, 6)).astype(np.float32)
    arguments = {"weights": parity.Weights(template=template), "layout": {"x": (0, 2, 3, 1)}}
    assert parity.check(module, right, {"x": x}, **arguments).verdict is Verdict.PASS
    report = parity.check(module, wrong, {"x": x}, **arguments)
    (fault,) = (
        q for q in report.failures("forward", "float64") if (q.name, q.program) == ("output", "candidate")
    )
    assert any("another order" in note for note in fault.notes)


@pytest.mark.parametrize("where", ["output", "gradient"])
def test_nan_on_one_side_fails_and_on_both_sides_never_passes(pair: Any, where: str) -> None:
    def poisoned(params: Any, x: jax.Array) -> jax.Array:
        out = pair.candidate(params, x)
        if where == "output":
            return out.at[1, 2].set(jnp.nan)
        bias = params["hidden"]["bias"]
        return out + 0 * jnp.sum(jnp.sqrt(bias - jax.lax.stop_gradient(bias)))  # 0 * inf in the gradient

    report = pair.check(candidate=poisoned)
    assert report.verdict is Verdict.FAIL
    names = failing(report, "forward" if where == "output" else "gradients")
    assert ("output" if where == "output" else "0.bias") in names
    assert any("NaN or infinity on the JAX side" in n for q in report.failures() for n in q.notes)

    class Poisoned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(x - 100)

    both = parity.check(
        Poisoned(),
        lambda params, x: jnp.log(x - 100),
        pair.inputs,
        weights=parity.Weights(template={}),
        settings=parity.Settings(finite_differences=False),
    )
    assert both.verdict is Verdict.INCONCLUSIVE
    assert both.verdict.exit_code == 3


def test_float32_accuracy_is_not_called_another_function(pair: Any) -> None:
    def coarse(params: Any, x: jax.Array) -> jax.Array:
        rounded = jax.lax.optimization_barrier(x + 4096.0) - 4096.0  # to 2^-12 in float32
        return pair.candidate(params, rounded)

    report = pair.check(candidate=coarse)
    assert report.failures(dtype="float64") == ()
    (fault,) = (q for q in report.failures("forward", "float32") if q.name == "output")
    assert any(note.startswith("accuracy: the same function in float64") for note in fault.notes)


def test_a_side_that_computes_less_stably_is_reported() -> None:
    class Variance(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.var(dim=1, unbiased=False)

    def one_pass(params: Any, x: jax.Array) -> jax.Array:
        return jnp.mean(x * x, axis=1) - jnp.mean(x, axis=1) ** 2  # cancels where the mean is large

    x = np.random.default_rng(0).standard_normal((5, 64)) + 100
    report = parity.check(
        Variance(),
        one_pass,
        {"x": x},
        weights=parity.Weights(template={}),
        settings=parity.Settings(dtypes=["float64"]),
    )
    (output,) = (q for q in report.select("forward") if (q.name, q.program) == ("output", "candidate"))
    assert output.verdict is Verdict.PASS
    assert any(note.startswith("stability: the JAX side moves") for note in output.notes)


def test_a_port_that_loses_accuracy_by_its_own_rounding_fails_for_it() -> None:
    class Variance(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.var(dim=1, unbiased=False)

    def one_pass(params: Any, x: jax.Array) -> jax.Array:
        return jnp.mean(x * x, axis=1) - jnp.mean(x, axis=1) ** 2

    for mean in (1e3, 1e4):
        x = np.random.default_rng(0).standard_normal((5, 64)) + mean
        report = parity.check(Variance(), one_pass, {"x": x}, weights=parity.Weights(template={}))
        assert report.verdict is Verdict.FAIL
        assert report.failures("forward", "float64") == ()
        (output,) = (q for q in report.failures("forward", "float32") if q.name == "output")
        assert output.program == "candidate"
        assert output.notes[0].startswith("accuracy: the same function in float64, but float32 on the JAX")
        (place,) = report.divergences
        assert (place.kind, place.candidate[0].operation) == ("accuracy", "sub")
        assert "JAX loses accuracy here that PyTorch keeps" in str(report)


def test_the_less_accurate_reference_is_no_fault_of_the_port(pair: Any) -> None:
    class Lossy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = pair.reference

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.inner(x) + 4096.0) - 4096.0

    report = pair.check(reference=Lossy())
    assert report.verdict is Verdict.PASS
    (output,) = (q for q in report.select("forward", "float32") if q.name == "output")
    assert output.rho > 10
    assert any("PyTorch is further from float64" in note for note in output.notes)


def test_nothing_of_the_models_or_the_process_changes(pair: Any) -> None:
    pair.reference.train()
    pair.reference[0].weight.grad = torch.ones(6, 6)
    before = {name: p.detach().clone() for name, p in pair.reference.named_parameters()}
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = (torch.rand(1).item(), np.random.rand())  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    threads, precision = torch.get_num_threads(), torch.backends.cudnn.conv.fp32_precision
    pair.check()
    with pytest.raises(ZeroDivisionError):
        pair.check(candidate=lambda params, x: 1 / 0)  # also after an exception
    assert (torch.rand(1).item(), np.random.rand()) == expected  # noqa: NPY002
    assert (torch.get_num_threads(), torch.backends.cudnn.conv.fp32_precision) == (threads, precision)
    assert not jax.config.jax_enable_x64
    assert jax.config.jax_default_matmul_precision is None
    assert pair.reference.training
    assert torch.equal(pair.reference[0].weight.grad, torch.ones(6, 6))
    assert all(torch.equal(before[name], p) for name, p in pair.reference.named_parameters())


def test_a_model_that_raises_is_an_error_that_names_the_side(pair: Any) -> None:
    def broken(params: Any, x: jax.Array) -> jax.Array:
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer") as caught:
        pair.check(candidate=broken)
    assert "raised by the JAX model" in told(caught.value)
    lines = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "broken" in lines  # the user's own line is in the traceback


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {}}, "`inputs` is empty"),
        ({"inputs": {"x": np.full((2, 6), np.nan)}}, "NaN, infinity"),
        ({"inputs": {"x": np.array(["a"])}}, "must be floating, complex, integer or boolean"),
        ({"targets": {"x": np.zeros(7, int)}}, "both have x"),
        ({"reference": 3}, "must be an nn.Module"),
        ({"reference": lambda params, x: x}, "reference_params"),
        ({"candidate": 3}, "must be a module of Flax or Equinox"),
        ({"dtypes": ["float8"]}, "float8"),
        ({"device": "tpu"}, "tpu"),
        ({"template": {"hidden": {"kernel": np.zeros((6, 5))}}}, "do not pair up"),
    ],
)
def test_bad_input_says_what_to_do(pair: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        pair.check(**changes)
    assert message in told(caught.value)


def test_a_quantity_that_only_one_side_has_is_a_failure(pair: Any) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = pair.reference

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.inner(x), "hidden": x}

    report = pair.check(
        reference=Named(),
        candidate=lambda params, x: {"logits": pair.candidate(params, x), "extra": x},
        loss=(lambda out, y: out["logits"].sum(), lambda out, y: out["logits"].sum()),
    )
    assert failing(report, "forward") == {"hidden", "extra"}


def test_a_single_output_is_compared_with_the_first_of_several(pair: Any) -> None:
    report = pair.check(
        candidate=lambda params, x: {"logits": pair.candidate(params, x), "extra": x},
        loss=(lambda out, y: out.sum(), lambda out, y: out["logits"].sum()),
    )
    assert report.verdict is Verdict.PASS
    assert any("extra" in finding for finding in report.findings)


def test_nnx_modules_and_default_loss(pair: Any) -> None:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(6, 6, rngs=rngs)
            self.second = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.second(jnp.tanh(self.first(x)))

    net = Net(nnx.Rngs(1))
    kernel = np.array(net.first.kernel[...])
    report = parity.check(pair.reference, net, pair.inputs)
    assert report.verdict is Verdict.PASS, str(report)
    assert np.array_equal(kernel, net.first.kernel[...])
    assert any("random projection" in line for line in report.not_checked)


def test_tolerance_replaces_the_yardstick(pair: Any) -> None:
    scaled = pair.check(
        candidate=lambda p, x: (1 + 1e-6) * pair.candidate(p, x),
        settings=parity.Settings(rtol=1e-3, atol=1e-3, finite_differences=False),
    )
    assert scaled.verdict is Verdict.PASS
    assert pair.check(settings=parity.Settings(rtol=0.0, atol=0.0, dtypes=["float32"])).verdict in (
        Verdict.PASS,
        Verdict.FAIL,
    )
    assert (
        pair.check(
            candidate=lambda p, x: 1.1 * pair.candidate(p, x), settings=parity.Settings(rtol=1e-3, atol=1e-3)
        ).verdict
        is Verdict.FAIL
    )


def test_the_report_is_data_and_its_text_starts_with_the_verdict(pair: Any) -> None:
    report = pair.check(candidate=lambda p, x: pair.candidate(p, x)[:, ::-1])
    data = report.as_dict()
    assert data["verdict"] == "fail"
    assert all(row["stage"] in STAGES for row in data["quantities"])
    assert str(report).startswith("check: FAIL")
    row = next(r for r in data["quantities"] if r["name"] == "output" and r["dtype"] == "float64")
    assert row["yardstick"] > 0
    assert row["relative_error"] == pytest.approx(row["difference"] / row["scale"])


def test_batch_norm_in_train_mode_leaves_its_statistics_and_counter_alone() -> None:
    module = nn.BatchNorm1d(3, affine=False).train()
    module(torch.randn(4, 3))
    before = {name: b.clone() for name, b in module.named_buffers()}

    def port(params: Any, x: jax.Array) -> jax.Array:
        return (x - jnp.mean(x, axis=0)) / jnp.sqrt(jnp.var(x, axis=0) + 1e-5)

    x = np.random.default_rng(0).standard_normal((8, 3))
    template = {"mean": jnp.zeros(3), "var": jnp.ones(3)}
    report = parity.check(module, port, {"x": x}, weights=parity.Weights(template=template))
    assert report.verdict is Verdict.PASS, str(report)
    assert module.training
    assert all(torch.equal(before[name], b) for name, b in module.named_buffers())


def test_tables_that_are_not_saved_are_constants_and_integers_are_compared() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 4)
            self.register_buffer("table", torch.arange(5.0)[:, None] / 8, persistent=False)
            self.register_buffer("positions", torch.arange(5), persistent=False)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
            out = self.embed(ids) + self.table[self.positions]
            return {"out": out.masked_fill(mask[..., None], 0.0), "ids": ids + 1}

    def port(params: Any, ids: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        out = params["embedding"][ids] + (jnp.arange(5.0, dtype=params["embedding"].dtype) / 8)[:, None]
        return {"out": jnp.where(mask[..., None], 0.0, out), "ids": ids + 1}

    def off_by_one(params: Any, ids: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        return {**port(params, ids, mask), "ids": ids}

    rng = np.random.default_rng(0)
    inputs = {"ids": rng.integers(0, 11, (2, 5)), "mask": rng.random((2, 5)) < 0.3}
    template = {"embedding": jnp.zeros((11, 4))}
    report = parity.check(Net(), port, inputs, weights=parity.Weights(template=template))
    assert report.verdict is Verdict.PASS, str(report)
    assert {q.name for q in report.select("forward", "float64")} == {"out", "ids", "loss"}
    assert failing(
        parity.check(Net(), off_by_one, inputs, weights=parity.Weights(template=template)), "forward"
    ) == {"ids"}
