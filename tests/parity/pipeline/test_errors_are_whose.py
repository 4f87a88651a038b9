"""An error is the harness's, the user's argument's or the user's model's, and says which."""

import traceback
from collections.abc import Callable
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from parity.frameworks.jax.jax_program import JaxProgram
from parity.frameworks.torch.torch_program import TorchProgram
from parity.report.results import Verdict

X = {"x": np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)}
TEMPLATE = {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}
SETTINGS = parity.Settings(finite_differences=False, moved_weights=False)


class Net(nn.Module):
    """A linear layer, and a function of what it gives."""

    def __init__(self, then: Callable[[torch.Tensor], torch.Tensor] = lambda y: y) -> None:
        super().__init__()
        self.linear, self.then = nn.Linear(4, 3), then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.then(self.linear(x))


def port(then: Callable[[jax.Array], jax.Array] = lambda y: y) -> Callable[..., jax.Array]:
    """The same in JAX."""

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return then(x @ params["kernel"] + params["bias"])

    return apply


def check(reference: Any = None, candidate: Any = None, inputs: Any = X, **rest: Any) -> parity.Report:
    given = {"weights": parity.Weights(template=TEMPLATE), "settings": SETTINGS} | rest
    return parity.check(reference or Net(), candidate or port(), inputs, **given)


class OwnError(Exception):
    """What a user's model raises in these tests."""


def broken(*args: Any, **kwargs: Any) -> Any:
    """A step of the harness with a bug: an operation that it does not know, say."""
    return {}["no such operation"]


def notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", []))


STEPS = [
    pytest.param(TorchProgram, "uses", "lifting the reference", id="uses-of-the-reference"),
    pytest.param(TorchProgram, "trace", "lifting the reference", id="trace-of-the-reference"),
    pytest.param(JaxProgram, "uses", "how the candidate uses its weights", id="uses-of-the-candidate"),
]


@pytest.mark.parametrize(("program", "method", "step"), STEPS)
def test_a_bug_of_the_harness_is_its_own(
    program: Any, method: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, method, broken)
    with pytest.raises(parity.HarnessError) as caught:
        check()
    message = str(caught.value)
    assert step in message
    assert "not of your model" in message
    assert "KeyError: 'no such operation'" in message
    assert "report it" in message
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_bug_inside_lifting_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from parity.frameworks.torch import torch_lift

    monkeypatch.setattr(torch_lift.Lift, "_wider", staticmethod(broken))
    with pytest.raises(parity.HarnessError, match=r"lifting the PyTorch model to float64.*report it"):
        check()


def test_a_bug_inside_lifting_of_jax_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from parity.frameworks.jax import wide_equations

    monkeypatch.setattr(wide_equations, "wide_params", broken)
    with pytest.raises(parity.HarnessError, match="report it"):
        check()


@pytest.mark.parametrize("step", ["traced", "find_regions", "diagnose", "growth_of", "Comparison"])
def test_a_bug_inside_the_search_does_not_cost_the_verdict(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parity.pipeline import search

    monkeypatch.delenv("PARITY_DEBUG", raising=False)
    monkeypatch.setattr(search, step, broken)
    report = check(candidate=port(lambda y: 1.01 * y))
    assert report.verdict is Verdict.FAIL
    assert report.error is None
    (finding,) = [text for text in report.findings if "bug of the harness" in text]
    assert "KeyError" in finding
    assert "report it" in finding
    monkeypatch.setenv("PARITY_DEBUG", "1")
    with pytest.raises(KeyError, match="no such operation"):
        check(candidate=port(lambda y: 1.01 * y))


def test_bad_input_is_refused_without_a_note() -> None:
    more = {**TEMPLATE, "more": jnp.zeros(7)}

    def reading_more(params: Any, x: jax.Array) -> jax.Array:
        return port()(params, x) + params["more"].sum()

    bad: list[tuple[type[Exception], Callable[[], Any]]] = [
        (TypeError, lambda: check(inputs={"x": np.array(["a"])})),
        (TypeError, lambda: check(layout={"z": (0, 1)})),
        (TypeError, lambda: check(candidate=3)),
        (TypeError, lambda: check(candidate=port(), weights=parity.Weights())),
        (ValueError, lambda: check(settings=parity.Settings(dtypes=["float63"]))),
        (ValueError, lambda: parity.Settings(rtol=1e-3)),
        (ValueError, lambda: check(candidate=reading_more, weights=parity.Weights(template=more))),
    ]
    for kind, call in bad:
        with pytest.raises(kind) as caught:
            call()
        assert not isinstance(caught.value, parity.HarnessError)
        assert not any("raised by" in note for note in notes(caught.value)), notes(caught.value)


def require_the_users(call: Callable[[], Any], framework: str, line: str) -> None:
    """A model's own error: its type, a note that names the side, and the user's frame."""
    with pytest.raises(OwnError, match="mine") as caught:
        call()
    assert sum(f"raised by the {framework}" in note for note in notes(caught.value)) == 1
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert any(frame.filename == __file__ and line in (frame.line or "") for frame in frames)


def never(y: Any) -> Any:
    """Raises wherever it runs."""
    raise OwnError("mine")


def not_in_float64_torch(y: torch.Tensor) -> torch.Tensor:
    """Raises in float64 alone."""
    if y.dtype == torch.float64:
        raise OwnError("mine")
    return y


class BackwardTorch(torch.autograd.Function):
    """The identity, whose backward pass raises."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        raise OwnError("mine")


@jax.custom_vjp
def backward_jax(x: jax.Array) -> jax.Array:
    """The identity, whose backward pass raises."""
    return x


def _backward_jax(kept: None, grad: jax.Array) -> tuple[jax.Array]:
    raise OwnError("mine")


backward_jax.defvjp(lambda x: (x, None), _backward_jax)


def test_a_model_that_raises_raises_its_own_error() -> None:
    require_the_users(lambda: check(Net(never)), "PyTorch", 'raise OwnError("mine")')
    require_the_users(lambda: check(candidate=port(never)), "JAX", 'raise OwnError("mine")')


def test_a_model_that_raises_in_float64_alone() -> None:
    require_the_users(lambda: check(Net(not_in_float64_torch)), "PyTorch", 'raise OwnError("mine")')
    torch_candidate = {"candidate": Net(not_in_float64_torch), "weights": None}
    require_the_users(lambda: check(**torch_candidate), "PyTorch", 'raise OwnError("mine")')


def test_a_model_that_raises_in_its_backward_pass() -> None:
    require_the_users(lambda: check(Net(BackwardTorch.apply)), "PyTorch", 'raise OwnError("mine")')


def test_a_jax_model_that_raises_in_its_backward_pass() -> None:
    require_the_users(lambda: check(candidate=port(backward_jax)), "JAX", 'raise OwnError("mine")')


def test_a_loss_that_raises() -> None:
    targets = np.zeros((2, 3), np.float32)

    def mean(out: Any, targets: Any) -> Any:
        return ((out - targets) ** 2).mean()

    def bad(out: Any, targets: Any) -> Any:
        raise OwnError("mine")

    require_the_users(lambda: check(loss=(bad, mean), targets=targets), "PyTorch", 'raise OwnError("mine")')
    require_the_users(lambda: check(loss=(mean, bad), targets=targets), "JAX", 'raise OwnError("mine")')


def test_a_bug_inside_lifting_is_not_the_models_in_whose_forward_pass_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from parity.frameworks.torch import torch_lift

    wider = torch_lift.Lift._wider

    def at_tensors(value: Any) -> Any:
        return broken() if isinstance(value, torch.Tensor) else wider(value)

    monkeypatch.setattr(torch_lift.Lift, "_wider", staticmethod(at_tensors))
    with pytest.raises(parity.HarnessError, match="report it") as caught:
        check()
    assert not any("raised by" in note for note in getattr(caught.value, "__notes__", ()))


def test_where_every_layout_fails_the_error_that_got_furthest_is_raised() -> None:
    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    def images(params: Any, x: jax.Array) -> jax.Array:
        y = jnp.einsum("nhwi,io->nhwo", x, params["kernel"])  # channels last: the other layout stops here
        if y.shape[-1] == 4:
            raise OwnError("the user's own mistake, after the convolution")
        return y

    x = {"x": np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)}
    template = {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)}
    with pytest.raises(OwnError, match="own mistake, after the convolution"):
        check(Conv(), images, x, weights=parity.Weights(template=template))


IMAGES = {"x": np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)}


def images() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.permute(0, 3, 1, 2))


class Deep(nn.Module):
    """Has a mistake of the user's own, which only images whose channels lie right come to."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise OwnError("deep in the model")


def deep(params: Any, x: jax.Array) -> jax.Array:
    """The same in JAX, at an earlier line than the convolution."""
    raise OwnError("deep in the model")


def convolution(params: Any, x: jax.Array) -> jax.Array:
    names = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME", dimension_numbers=names)
    return y + params["bias"]


def in_a_loop(params: Any, x: jax.Array) -> jax.Array:
    for layer in (convolution, deep, convolution):
        x = layer(params, x)
    return x


class InALoop(nnx.Module):
    def __init__(self) -> None:
        self.layers = nnx.List([nnx.Conv(3, 4, (1, 1), rngs=nnx.Rngs(0)), nnx.relu])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in [*self.layers, lambda x: deep(None, x)]:
            x = layer(x)
        return x


def drawn_from_the_inputs(x: jax.Array) -> jax.Array:
    if x.shape[1] == 5:
        raise OwnError("deep in the model")
    return x


class Drawn(linen.Module):
    """Its params have whatever shape the images ask for: it can be opened in the wrong layout alone."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return drawn_from_the_inputs(linen.Conv(4, (1, 1))(x))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_mistake_deep_in_a_loop_is_not_hidden_by_the_channels_of_another_layout(compiled: bool) -> None:
    weights = parity.Weights(template={"kernel": jnp.zeros((1, 1, 3, 4)), "bias": jnp.zeros(4)})
    port = jax.jit(in_a_loop) if compiled else in_a_loop
    with pytest.raises(OwnError, match="deep in the model"):
        check(images(), port, IMAGES, weights=weights)


def test_a_mistake_deep_in_a_module_of_flax() -> None:
    with pytest.raises(OwnError, match="deep in the model"):
        check(images(), InALoop(), IMAGES, weights=None)


def test_a_mistake_deep_in_a_sequence_of_pytorch() -> None:
    params = {"kernel": jnp.ones((1, 1, 3, 4)), "bias": jnp.ones(4)}
    last = {"x": IMAGES["x"].transpose(0, 2, 3, 1)}
    candidate = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), Deep())
    with pytest.raises(OwnError, match="deep in the model"):
        check(convolution, candidate, last, weights=parity.Weights(reference_params=params))
    with pytest.raises(
        OwnError, match="deep in the model"
    ):  # two modules of PyTorch, one of them channels last
        check(ChannelsLast(), candidate, last, weights=None)


def test_a_mistake_of_a_model_that_opens_in_the_wrong_layout_alone_is_a_note() -> None:
    with pytest.raises(parity.WeightError) as caught:
        check(images(), Drawn(), IMAGES, weights=None)
    assert any("OwnError: deep in the model" in note for note in notes(caught.value))


class Positioned(nn.Module):
    """Positions, a norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.pos = nn.Parameter(torch.randn(6, 8))
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(x + self.pos))


class WithoutItsNorm(linen.Module):
    """The same without the norm."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dense(3, name="linear")(x + self.param("pos", linen.initializers.normal(), (6, 8)))


def test_weights_that_are_the_same_in_every_layout_have_one_error() -> None:
    given = {"x": np.random.default_rng(0).standard_normal((2, 6, 8)).astype(np.float32)}
    template = jax.eval_shape(WithoutItsNorm().init, jax.random.key(0), given["x"])
    with pytest.raises(parity.WeightError, match=r"unused PyTorch tensor 'norm\.weight'") as caught:
        check(Positioned(), WithoutItsNorm(), given, weights=parity.Weights(template=template))
    assert not notes(caught.value)


def test_a_bug_in_the_walk_costs_no_place_and_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from parity.localise import walk

    monkeypatch.delenv("PARITY_DEBUG", raising=False)
    monkeypatch.setattr(walk, "_search", lambda *given: broken())

    def wrong(params: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ params["kernel"]) + params["bias"]  # not what the reference computes

    report = check(candidate=wrong)
    assert report.verdict is parity.Verdict.FAIL
    codes = [place.code for divergence in report.divergences for place in divergence.candidate]
    assert any(code.endswith("# not what the reference computes") for code in codes)
    said = [line for line in report.findings if line.startswith("a bug of the harness")]
    assert len(said) == 1
    assert "may have cost places" in said[0]


def test_a_bug_before_the_walk_is_why_there_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from parity.pipeline import search

    monkeypatch.delenv("PARITY_DEBUG", raising=False)
    monkeypatch.setattr(search, "Comparison", lambda *given: broken())
    report = check(candidate=lambda params, x: x @ params["kernel"] - params["bias"])
    assert report.verdict is parity.Verdict.FAIL
    assert report.divergences == ()
    assert report.unplaced in report.findings
    assert report.unplaced.startswith("the place was not found because of a bug of the harness")
    assert str(report).count("because of a bug of the harness") == 1
