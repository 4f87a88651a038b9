"""A model of one JAX library and its successor in another: loaded by the plan, both forwards agree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from parity.frameworks.jax.jax_uses import jax_uses
from parity.frameworks.jax.trees import flatten
from parity.weights import Signature, find_plan
from tests.parity.weights.test_weights_layers import (  # noqa: F401  (x64 is a fixture)
    KEY,
    RNGS,
    TOLERANCE,
    attend,
    normal,
    x64,
)

E, D, H, L = 4, 3, 4, 3
WIDE: dict[str, Any] = {"param_dtype": jnp.float64}
NORM: dict[str, Any] = {"epsilon": 1e-5, "use_fast_variance": False}


class Side(NamedTuple):
    """A model as a function of its leaves."""

    leaves: dict[str, np.ndarray]
    call: Callable[[dict[str, Any], Any], Any]

    def signatures(self, x: Any, used: bool = True) -> dict[str, Signature]:
        """What the planner may know: shapes, and first uses if `used`."""
        paths = list(self.leaves)
        closed = jax.make_jaxpr(lambda own, x: self.call(dict(zip(paths, own, strict=True)), x))(
            list(self.leaves.values()), x
        )
        uses = jax_uses(closed, [*paths, None]) if used else {}
        return {path: Signature(leaf.shape, use=uses.get(path)) for path, leaf in self.leaves.items()}


def side(tree: Any, call: Callable[[Any, Any], Any]) -> Side:
    """Every leaf random, variances positive."""
    leaves, structure = flatten(tree)
    rng = np.random.default_rng(2)
    drawn = {path: rng.standard_normal(leaf.shape) / 2 for path, leaf in leaves.items()}
    drawn = {path: np.abs(a) + 0.5 if path.endswith("var") else a for path, a in drawn.items()}

    def run(own: dict[str, Any], x: Any) -> Any:
        return call(structure.build({path: jnp.asarray(a) for path, a in own.items()}), x)

    return Side(drawn, run)


def of_linen(model: linen.Module) -> Callable[[Any], Side]:
    return lambda x: side(jax.eval_shape(lambda: model.init(KEY, x)), model.apply)


def of_nnx(make: Callable[[], Any], run: Callable[[Any, Any], Any] = lambda m, x: m(x)) -> Any:
    def build(x: Any) -> Side:
        graph, state, rest = nnx.split(make(), (nnx.Param, nnx.BatchStat), ...)

        def call(pure: Any, x: Any) -> Any:
            filled = nnx.clone(state)
            nnx.replace_by_pure_dict(filled, pure)
            model = nnx.merge(graph, filled, rest)
            model.eval()
            return run(model, x)

        return side(nnx.to_pure_dict(state), call)

    return build


def of_equinox(make: Callable[[], Any], run: Callable[[Any, Any], Any] | None = None) -> Any:
    def build(x: Any) -> Side:
        arrays, static = eqx.partition(make(), eqx.is_inexact_array)

        def call(arrays: Any, x: Any) -> Any:
            model = eqx.combine(arrays, static)
            return run(model, x) if run else jax.vmap(model)(x)

        return side(arrays, call)

    return build


def plain(tree: Any, call: Callable[[Any, Any], Any]) -> Callable[[Any], Side]:
    return lambda x: side(tree, call)


def last_to_first(run: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """A model of channels first on images of channels last."""
    return lambda m, x: jnp.moveaxis(jax.vmap(m)(jnp.moveaxis(x, -1, 1)), 1, -1)


channels_first = last_to_first(lambda m: m)


class Mlp(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(L):
            x = jnp.tanh(linen.Dense(E)(x))
        return linen.Dense(E, name="out")(x)


class NnxMlp(nnx.Module):
    def __init__(self) -> None:
        self.layers = nnx.List([nnx.Linear(E, E, rngs=RNGS, **WIDE) for _ in range(L)])
        self.out = nnx.Linear(E, E, rngs=RNGS, **WIDE)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.out(x)


def eqx_mlp() -> Any:
    return eqx.nn.MLP(E, E, E, L, activation=jnp.tanh, key=KEY)


STACKED = {
    "layers": {"kernel": np.zeros((L, E, E)), "bias": np.zeros((L, E))},
    "out": {"kernel": np.zeros((E, E)), "bias": np.zeros(E)},
}


def scanned(params: Any, x: Any) -> Any:
    def step(x: Any, layer: Any) -> Any:
        return jnp.tanh(x @ layer["kernel"] + layer["bias"]), None

    x, _ = jax.lax.scan(step, x, params["layers"])
    return x @ params["out"]["kernel"] + params["out"]["bias"]


class Image(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.Conv(D, (3, 3), padding="VALID")(x)
        return linen.BatchNorm(use_running_average=True, **NORM)(x)


class NnxImage(nnx.Module):
    def __init__(self) -> None:
        self.first = nnx.Conv(D, D, (3, 3), padding="VALID", rngs=RNGS, **WIDE)
        self.second = nnx.BatchNorm(D, rngs=RNGS, **WIDE, **NORM)

    def __call__(self, x: Any) -> Any:
        return self.second(self.first(x))


def over_time(cell: Any, x: Any, pair: bool = True) -> Any:
    """Hidden states of a Flax cell, (N, T, D) to (N, T, H)."""
    zero = jnp.zeros((len(x), H))
    state: Any = (zero, zero) if pair else zero
    out = []
    for t in range(x.shape[1]):
        state, h = cell(state, x[:, t])
        out.append(h)
    return jnp.stack(out, axis=1)


def rows_over_time(cell: Any, x: Any, pair: bool = True) -> Any:
    """The same of an Equinox cell."""

    def run(rows: Any) -> Any:
        state: Any = (jnp.zeros(H),) * 2 if pair else jnp.zeros(H)
        out = []
        for row in rows:
            state = cell(row, state)
            out.append(state[0] if pair else state)
        return jnp.stack(out)

    return jax.vmap(run)(x)


class Attention(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.MultiHeadDotProductAttention(2, use_bias=False, attention_fn=attend)(x)


class Tied(linen.Module):
    @linen.compact
    def __call__(self, tokens: Any) -> Any:
        embed = linen.Embed(7, E)
        return embed.attend(embed(tokens))


def untied(params: Any, tokens: Any) -> Any:
    return params["table"][tokens] @ params["table"].T


X = normal(2, E)
IMAGES = normal(2, 5, 6, D)
ROWS = normal(2, 5, D)
SQUARE = normal(2, 5, H)
TOKENS = np.array([[1, 0, 6], [3, 3, 2]])

PAIRS: dict[str, tuple[Any, Any, Any]] = {
    "linear, Linen and NNX": (
        of_linen(linen.Dense(E)),
        of_nnx(lambda: nnx.Linear(E, E, rngs=RNGS, **WIDE)),
        X,
    ),
    "linear, Linen and Equinox": (
        of_linen(linen.Dense(E)),
        of_equinox(lambda: eqx.nn.Linear(E, E, key=KEY)),
        X,
    ),
    "layers, Linen and NNX": (of_linen(Mlp()), of_nnx(NnxMlp), X),
    "layers, Linen and Equinox": (of_linen(Mlp()), of_equinox(eqx_mlp), X),
    "layers, NNX and a scan": (of_nnx(NnxMlp), plain(STACKED, scanned), X),
    "layers, Equinox and a scan": (of_equinox(eqx_mlp), plain(STACKED, scanned), X),
    "convolution and norm, Linen and NNX": (of_linen(Image()), of_nnx(NnxImage), IMAGES),
    "convolution, NNX and Equinox": (
        of_nnx(lambda: nnx.Conv(D, D, (3, 3), padding="VALID", rngs=RNGS, **WIDE)),
        of_equinox(lambda: eqx.nn.Conv2d(D, D, 3, key=KEY), channels_first),
        IMAGES,
    ),
    "transposed convolution, Linen and Equinox": (
        of_linen(linen.ConvTranspose(D, (3, 3), strides=(2, 2), padding=((2, 2), (2, 2)))),
        of_equinox(lambda: eqx.nn.ConvTranspose2d(D, D, 3, stride=2, key=KEY), channels_first),
        IMAGES,
    ),
    "LSTM, Linen and Equinox": (
        of_linen(linen.RNN(linen.LSTMCell(H, **WIDE))),
        of_equinox(lambda: eqx.nn.LSTMCell(D, H, key=KEY), rows_over_time),
        ROWS,
    ),
    "LSTM of square kernels, Linen and Equinox": (
        of_linen(linen.RNN(linen.LSTMCell(H, **WIDE))),
        of_equinox(lambda: eqx.nn.LSTMCell(H, H, key=KEY), rows_over_time),
        SQUARE,
    ),
    "LSTM, Linen and NNX with packed gates": (
        of_linen(linen.RNN(linen.LSTMCell(H, **WIDE))),
        of_nnx(lambda: nnx.OptimizedLSTMCell(D, H, rngs=RNGS, **WIDE), over_time),
        ROWS,
    ),
    "LSTM of square kernels, NNX packed and split": (
        of_nnx(lambda: nnx.OptimizedLSTMCell(H, H, rngs=RNGS, **WIDE), over_time),
        of_nnx(lambda: nnx.LSTMCell(H, H, rngs=RNGS, **WIDE), over_time),
        SQUARE,
    ),
    "GRU, Linen and Equinox": (
        of_linen(linen.RNN(linen.GRUCell(H, **WIDE))),
        of_equinox(
            lambda: eqx.nn.GRUCell(D, H, key=KEY), lambda cell, x: rows_over_time(cell, x, pair=False)
        ),
        ROWS,
    ),
    "attention, Linen and NNX": (
        of_linen(Attention()),
        of_nnx(
            lambda: nnx.MultiHeadAttention(
                2, E, decode=False, use_bias=False, attention_fn=attend, rngs=RNGS, **WIDE
            )
        ),
        SQUARE,
    ),
    "attention, Linen and Equinox": (
        of_linen(Attention()),
        of_equinox(
            lambda: eqx.nn.MultiheadAttention(2, E, key=KEY),
            lambda m, x: jax.vmap(lambda rows: m(rows, rows, rows))(x),
        ),
        SQUARE,
    ),
    "a tied embedding, Linen and a function": (
        of_linen(Tied()),
        plain({"table": np.zeros((7, E))}, untied),
        TOKENS,
    ),
    "embedding, NNX and Equinox": (
        of_nnx(lambda: nnx.Embed(7, E, rngs=RNGS, **WIDE)),
        of_equinox(lambda: eqx.nn.Embedding(7, E, key=KEY), lambda m, x: jax.vmap(jax.vmap(m))(x)),
        TOKENS,
    ),
}


@pytest.mark.parametrize("turned", [False, True], ids=["there", "back"])
@pytest.mark.parametrize("case", PAIRS)
def test_a_model_and_its_successor(case: str, turned: bool) -> None:
    *makers, x = PAIRS[case]
    reference, candidate = (make(jnp.asarray(x)) for make in (reversed(makers) if turned else makers))
    plan = find_plan(reference.signatures(x), candidate.signatures(x), alike=True)
    loaded = plan.to_candidate(reference.leaves)
    assert {path: a.shape for path, a in loaded.items()} == {p: a.shape for p, a in candidate.leaves.items()}
    wanted = np.asarray(reference.call(reference.leaves, x))
    np.testing.assert_allclose(candidate.call(loaded, x), wanted, **TOLERANCE)
    assert np.ptp(wanted) > 0.01
    again = plan.to_reference(loaded)
    assert all(np.array_equal(again[path], leaf) for path, leaf in reference.leaves.items())
