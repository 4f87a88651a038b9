"""Dropout of channels, of attention and of paths, and noise of every kind, shared by both sides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

import parity
from parity.pipeline import record
from tests.kit.weights import randomise, shapes
from tests.parity.pipeline.test_shared_draws import KEY, RATE, X, dense, dropout, fails, passes

DENSE = shapes({"kernel": (6, 4), "bias": (4,)})


def normal(*shape: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}


class After(nn.Module):
    """A layer, and what a function makes of its result."""

    def __init__(self, layer: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x))


def linear(function: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    return randomise(After(nn.Linear(6, 4), function)).train()


def after(function: Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    return lambda params, x: function(dense(params, x))


# Channels, and images with their channels last.


class Pixels(nnx.Module):
    """A convolution of images with channels last, and dropout of numbers or of whole channels."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        rngs = nnx.Rngs(2)
        self.conv = nnx.Conv(3, 5, (3, 3), rngs=rngs)
        self.drop = nnx.Dropout(RATE, broadcast_dims=axes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.drop(self.conv(x))


@pytest.mark.parametrize("size", [(7, 6), (3, 3)], ids=["oblong", "as many rows as channels"])
def test_masks_of_images_lie_as_the_images_do(size: tuple[int, int]) -> None:
    conv, images = nn.Conv2d(3, 5, 3, padding=1), normal(2, 3, *size)
    module = randomise(nn.Sequential(conv, nn.Dropout(RATE))).train()
    passes(module, Pixels(()), images)
    channels = randomise(nn.Sequential(conv, nn.Dropout2d(RATE))).train()
    passes(channels, Pixels((1, 2)), images)
    fails(channels, Pixels(()), "shape (2, 5, 1, 1)", f"shape {(2, *size, 5)}", inputs=images)


def test_a_mask_of_a_cube_lies_as_the_two_sides_agree() -> None:
    """Channels, rows and columns are as many: the shapes say nothing."""
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.Dropout(RATE), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    module = randomise(nn.Sequential(*layers)).train()

    class Cube(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(2)
            self.conv, self.drop = nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.Dropout(RATE, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.drop(self.conv(x)).mean((1, 2))

    passes(module, Cube(), normal(2, 3, 4, 4))


# Paths: one number for each sample.


def drop_path(x: torch.Tensor) -> torch.Tensor:
    """As timm has it."""
    return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - RATE).div_(1 - RATE)


def older_drop_path(x: torch.Tensor) -> torch.Tensor:
    """As transformers has it."""
    return x.div(1 - RATE) * (1 - RATE + torch.rand(len(x), *[1] * (x.ndim - 1))).floor_()


def kept_paths(x: jax.Array) -> jax.Array:
    return x * jax.random.bernoulli(KEY, 1 - RATE, (len(x), 1)) / (1 - RATE)


@pytest.mark.parametrize("path", [drop_path, older_drop_path])
def test_drop_path(path: Callable[[torch.Tensor], torch.Tensor]) -> None:
    module = linear(path)
    passes(module, after(kept_paths), template=DENSE)
    fails(module, after(lambda x: dropout(KEY, x)), "(5, 1)", "(5, 4)", template=DENSE)


def test_paths_drawn_from_the_other_end_beside_noise() -> None:
    noise = jax.random.normal(jax.random.key(9), (5, 4))
    module = linear(lambda x: older_drop_path(x) + 0.1 * torch.randn_like(x))

    def port(x: jax.Array) -> jax.Array:
        return kept_paths(x) + 0.1 * jax.random.normal(jax.random.key(9), x.shape)

    report = passes(module, after(port), template=DENSE)
    assert "2 random draws were shared: 1 uniform, 1 normal" in report.findings
    fails(module, after(lambda x: kept_paths(x) + 0.1 * noise), template=DENSE)


# Noise.


def test_noise_of_a_diffusion_step() -> None:
    module = linear(lambda x: 0.8 * x + 0.6 * torch.randn_like(x))
    right = lambda x: 0.8 * x + 0.6 * jax.random.normal(KEY, x.shape)  # noqa: E731
    report = passes(module, after(right), template=DENSE)
    assert "1 random draw was shared: 1 normal" in report.findings
    fails(module, after(lambda x: 0.8 * x + 0.36 * jax.random.normal(KEY, x.shape)), template=DENSE)
    fails(
        module,
        after(lambda x: 0.8 * x + 0.6 * jax.random.uniform(KEY, x.shape)),
        "PyTorch draws normal numbers of shape (5, 4)",
        "JAX uniform numbers of shape (5, 4)",
        template=DENSE,
    )


def sampled(x: torch.Tensor) -> torch.Tensor:
    mean, log_variance = x.chunk(2, -1)
    return torch.distributions.Normal(mean, torch.exp(0.5 * log_variance)).rsample()


def test_a_variational_sample() -> None:
    def sample(x: jax.Array, swapped: bool = False, half: float = 0.5) -> jax.Array:
        mean, log_variance = jnp.split(x, 2, -1)[:: -1 if swapped else 1]
        return mean + jnp.exp(half * log_variance) * jax.random.normal(KEY, mean.shape)

    module = linear(sampled)
    passes(module, after(sample), template=DENSE)
    fails(module, after(lambda x: sample(x, swapped=True)), template=DENSE)
    fails(module, after(lambda x: sample(x, half=1.0)), template=DENSE)


def alpha_dropout(x: jax.Array) -> jax.Array:
    """Klambauer et al. 2017, section 4: dropped numbers become alpha', mean and variance stay."""
    alpha = -1.7580993408473766
    scale = ((1 - RATE) * (1 + RATE * alpha**2)) ** -0.5
    kept = jax.random.bernoulli(KEY, 1 - RATE, x.shape)
    return scale * (jnp.where(kept, x, alpha) - RATE * alpha)


def leaky(x: jax.Array) -> jax.Array:
    slopes = jax.random.uniform(KEY, x.shape, minval=1 / 8, maxval=1 / 3)
    return jnp.where(x >= 0, x, x * slopes)


def one_hot(x: torch.Tensor) -> torch.Tensor:
    return F.one_hot(torch.distributions.Categorical(logits=x).sample(), 4)


DISTRIBUTIONS: dict[str, tuple[Any, Any]] = {
    "alpha dropout": (lambda x: F.alpha_dropout(x, RATE, True), alpha_dropout),
    "rrelu": (lambda x: F.rrelu(x, training=True), leaky),
    "exponential": (
        lambda x: x + torch.empty_like(x).exponential_(),
        lambda x: x + jax.random.exponential(KEY, x.shape),
    ),
    "gumbel": (
        lambda x: F.gumbel_softmax(x, 0.5),
        lambda x: jax.nn.softmax((x + jax.random.gumbel(KEY, x.shape)) / 0.5),
    ),
    "integers": (
        lambda x: x + torch.randint(2, 9, x.shape),
        lambda x: x + jax.random.randint(KEY, x.shape, 2, 9),
    ),
    "category": (
        lambda x: x * one_hot(x),
        lambda x: x * jax.nn.one_hot(jax.random.categorical(KEY, x), 4),
    ),
    "mask of probabilities": (
        lambda x: x * torch.bernoulli(torch.sigmoid(x)),
        lambda x: x * jax.random.bernoulli(KEY, jax.nn.sigmoid(x)),
    ),
    "normal about x": (
        lambda x: torch.normal(x, 0.5),
        lambda x: jax.lax.stop_gradient(x) + 0.5 * jax.random.normal(KEY, x.shape),
    ),
}


@pytest.mark.parametrize(("function", "counterpart"), DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_other_distributions(function: Any, counterpart: Any) -> None:
    passes(linear(function), after(counterpart), template=DENSE)


# Attention.


class Block(nn.Module):
    """Attention with dropout of its weights, and a residual branch with dropout."""

    def __init__(self, rate: float = 0.1, residual: float = RATE) -> None:
        super().__init__()
        self.qkv, self.out, self.rate = nn.Linear(8, 24), nn.Linear(8, 8), rate
        self.drop = nn.Dropout(residual)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        rate = self.rate if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        return x + self.drop(self.out(out.transpose(1, 2).flatten(2)))


class BlockPort(linen.Module):
    """The same; `on` says what attention's dropout works on."""

    on: str = "weights"

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        split = lambda t: t.reshape(*t.shape[:2], 2, 4)  # noqa: E731
        q, k, v = map(split, jnp.split(linen.Dense(24, name="qkv")(x), 3, -1))
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2)
        attending = linen.Dropout(0.1, deterministic=False)
        weights = attending(weights) if self.on == "weights" else weights
        out = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape)
        out = attending(out) if self.on == "outputs" else out
        return x + linen.Dropout(RATE, deterministic=False)(linen.Dense(8, name="out")(out))


def bound(model: linen.Module, x: np.ndarray) -> tuple[Any, Any]:
    template = model.init(KEY, x)
    return lambda params, x: model.apply(params, x, rngs={"dropout": KEY}), template


def test_attention_and_a_residual_branch() -> None:
    inputs, module = normal(2, 5, 8), randomise(Block()).train()
    candidate, template = bound(BlockPort(), inputs["x"])
    report = passes(module, candidate, inputs, template)
    assert "2 random draws were shared: 2 Bernoulli masks" in report.findings
    candidate, template = bound(BlockPort("outputs"), inputs["x"])
    fails(module, candidate, "shape (2, 2, 5, 5)", "shape (2, 5, 8)", inputs=inputs, template=template)


def test_draws_that_come_in_another_order() -> None:
    """The mask of the residual branch is drawn first in JAX."""

    class Early(BlockPort):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - RATE, x.shape)
            split = lambda t: t.reshape(*t.shape[:2], 2, 4)  # noqa: E731
            q, k, v = map(split, jnp.split(linen.Dense(24, name="qkv")(x), 3, -1))
            weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2)
            weights = linen.Dropout(0.1, deterministic=False)(weights)
            out = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape)
            return x + jnp.where(kept, linen.Dense(8, name="out")(out) / (1 - RATE), 0)

    inputs, module = normal(2, 5, 8), randomise(Block()).train()
    candidate, template = bound(Early(), inputs["x"])
    report = passes(module, candidate, inputs, template)
    assert any("matched by shape" in text for text in report.findings)


def test_between_the_layers_of_a_recurrent_network() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(6, 4, 2, dropout=RATE, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0]

    def layer(params: Any, x: jax.Array) -> jax.Array:
        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(x @ params["input"].T + params["bias"] + h @ params["hidden"].T + params["other"])
            return h, h

        return jax.lax.scan(step, jnp.zeros((len(x), 4), x.dtype), x.swapaxes(0, 1))[1].swapaxes(0, 1)

    def port(params: Any, x: jax.Array) -> jax.Array:
        return layer(params["second"], dropout(KEY, layer(params["first"], x)))

    biases = {"bias": (4,), "other": (4,), "hidden": (4, 4)}
    template = shapes({"first": {"input": (4, 6), **biases}, "second": {"input": (4, 4), **biases}})
    passes(randomise(Last()).train(), port, normal(2, 5, 6), template)


# Draws in loops, recomputed ones, and those that nothing is known of.


def stacked(params: Any, x: jax.Array, *, keys: jax.Array, recomputed: bool) -> jax.Array:
    def layer(x: jax.Array, given: Any) -> tuple[jax.Array, None]:
        kernel, key = given
        return dropout(key, jnp.tanh(x @ kernel)), None

    return jax.lax.scan(jax.checkpoint(layer) if recomputed else layer, x, (params["kernel"], keys))[0]


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_scan_over_layers(recomputed: bool) -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(3, 6, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for kernel in self.kernel:
                x = F.dropout(torch.tanh(x @ kernel), RATE)
            return x

    template, module = shapes({"kernel": (3, 6, 6)}), randomise(Stack()).train()
    keys = jax.random.split(KEY, 3)
    passes(module, lambda p, x: stacked(p, x, keys=keys, recomputed=recomputed), template=template)
    once = jnp.stack([KEY] * 3)
    fails(
        module,
        lambda p, x: stacked(p, x, keys=once, recomputed=recomputed),
        "JAX uses the same key for draws 1 and 2",
        template=template,
    )


def test_what_cannot_be_shared_is_said() -> None:
    fails(
        linear(lambda x: x[torch.randperm(len(x))]),
        after(lambda x: jax.random.permutation(KEY, x)),
        "PyTorch draws random numbers that cannot be shared (randperm",
        "JAX draws random numbers that cannot be shared",
        template=DENSE,
    )


def test_several_inputs_in_all_dtypes() -> None:
    module = linear(lambda x: F.dropout(x, RATE))
    inputs = [X, {"x": X["x"][:1]}, {"x": np.concatenate([X["x"], X["x"]])}]
    settings = parity.Settings(dtypes=("float64", "float32", "bfloat16"))
    weights = parity.Weights(template=DENSE)
    port = after(lambda x: dropout(KEY, x))
    report = parity.check(module, port, inputs, weights=weights, settings=settings)
    outputs = [q for q in report.quantities if q.group == "outputs"]
    assert {q.dtype for q in outputs} == set(settings.dtypes or ())
    assert len(outputs) == 10  # three sets of inputs in three dtypes, and the moved weights
    assert all(q.verdict is parity.Verdict.PASS for q in report.quantities if q.name != "loss"), str(report)
    assert report.verdict is not parity.Verdict.FAIL


def test_generators_are_left_as_they_were() -> None:
    generator = torch.Generator().manual_seed(3)
    module = linear(lambda x: F.dropout(x, RATE) + torch.randn(x.shape, generator=generator))
    right = lambda x: dropout(KEY, x) + jax.random.normal(jax.random.key(1), x.shape)  # noqa: E731
    before, own = torch.get_rng_state(), generator.get_state()
    passes(module, after(right), template=DENSE)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(generator.get_state(), own)


def test_recordings_share_draws(tmp_path: Path) -> None:
    def recorded(port: Callable[..., jax.Array]) -> parity.Report:
        settings = parity.Settings(dtypes=("float64",), finite_differences=False)
        how: Any = {"settings": settings, "weights": parity.Weights(template=DENSE)}
        module = linear(lambda x: F.dropout(x, RATE))
        record.record(tmp_path / "one", side="reference", reference=module, inputs=X, **how)
        record.record(
            tmp_path / "other", side="candidate", against=tmp_path / "one", candidate=port, inputs=X, **how
        )
        return record.compare(tmp_path / "other", tmp_path / "one")

    report = recorded(after(lambda x: dropout(KEY, x)))
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert "1 random draw was shared: 1 Bernoulli mask" in report.findings
    report = recorded(after(lambda x: dropout(KEY, x, 0.5)))
    assert report.verdict is parity.Verdict.FAIL
    assert any("JAX one of probability 0.5" in text for text in report.findings), report.findings
