"""Reading JAX models of every kind: leaves, calls, modes, and what is said about them."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from parity.frameworks.jax.jax_model import JaxModel, read_jax
from parity.frameworks.jax.jax_program import JaxProgram
from parity.frameworks.jax.jaxpr_remarks import require_no_leaks
from parity.frameworks.task import Task, bind

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3)).astype(np.float32)
KERNEL, BIAS = RNG.standard_normal((3, 2)).astype(np.float32), RNG.standard_normal(2).astype(np.float32)
EXPECTED = X.astype(np.float64) @ KERNEL + BIAS
"""A linear layer by hand: what every framework's must give."""


def run(model: JaxModel, leaves: dict[str, Any], **inputs: Any) -> Any:
    """Call a model that was read with these leaves, the others as they are."""
    params = model.tree.build(
        {path: jnp.asarray(leaf, "float32") for path, leaf in (model.weights | leaves).items()}
    )
    args, kwargs = bind(model.target, model.skip, inputs)
    return model.call(params, *args, **kwargs)


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-5, atol=1e-5)


def plain(params: Any, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


TEMPLATE = {"kernel": jax.ShapeDtypeStruct((3, 2), "float32"), "bias": jax.ShapeDtypeStruct((2,), "float32")}


class EqxAffine(eqx.Module):
    """x W + b on a batch, weights as Flax has them."""

    kernel: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel + self.bias


def nnx_linear() -> nnx.Linear:
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))


DENSE = {"params/kernel": KERNEL, "params/bias": BIAS}
NATURAL = {"kernel": KERNEL, "bias": BIAS}
HAIKU = {"linear/w": KERNEL, "linear/b": BIAS}
haiku = hk.transform(lambda x: hk.Linear(2)(x))
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "function": (plain, TEMPLATE, NATURAL),
    "jitted": (jax.jit(plain), TEMPLATE, NATURAL),
    "partial": (functools.partial(lambda scale, params, x: scale * plain(params, x), 1.0), TEMPLATE, NATURAL),
    "params-second": (lambda x, params: plain(params, x), TEMPLATE, NATURAL),
    "nnx": (nnx_linear(), None, NATURAL),
    "nnx-abstract": (nnx.eval_shape(nnx_linear), None, NATURAL),
    "nnx-as-template": (lambda model, x: model(x), nnx_linear(), NATURAL),
    "nnx-given-a-state": (nnx_linear(), nnx.state(nnx_linear()), NATURAL),
    "linen": (nn.Dense(2), None, DENSE),
    "linen-params-alone": (nn.Dense(2), TEMPLATE, DENSE),
    "linen-all-collections": (nn.Dense(2), {"params": TEMPLATE}, DENSE),
    "linen-apply": (nn.Dense(2).apply, None, DENSE),
    "linen-apply-jitted": (jax.jit(nn.Dense(2).apply), None, DENSE),
    "linen-bound": (nn.Dense(2).bind(nn.Dense(2).init(jax.random.key(0), X)), None, DENSE),
    "equinox": (EqxAffine(jnp.zeros((3, 2)), jnp.zeros(2)), None, NATURAL),
    "equinox-abstract": (
        eqx.filter_eval_shape(EqxAffine, jnp.zeros((3, 2)), jnp.zeros(2)),
        None,
        NATURAL,
    ),
    "equinox-single-samples": (
        eqx.nn.Linear(3, 2, key=jax.random.key(0)),
        None,
        {"weight": KERNEL.T, "bias": BIAS},
    ),
    "equinox-as-template": (
        lambda model, x: jax.vmap(model)(x),
        eqx.nn.Linear(3, 2, key=jax.random.key(0)),
        {"weight": KERNEL.T, "bias": BIAS},
    ),
    "equinox-jitted": (eqx.filter_jit(plain), TEMPLATE, NATURAL),
    "haiku": (haiku, None, HAIKU),
    "haiku-without-rng": (hk.without_apply_rng(haiku), None, HAIKU),
    "haiku-given-params": (haiku, jax.eval_shape(haiku.init, jax.random.key(0), X), HAIKU),
    "haiku-apply": (hk.without_apply_rng(haiku).apply, haiku.init(jax.random.key(0), X), HAIKU),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("argument", ["x", "inputs", "images"])
def test_every_kind_gives_the_linear_layer_by_hand(name: str, argument: str) -> None:
    model, params, leaves = MODELS[name]
    read = read_jax(model, params, {argument: X})
    assert sorted(read.weights) == sorted(leaves)
    assert {path: leaf.shape for path, leaf in read.weights.items()} == {
        p: a.shape for p, a in leaves.items()
    }
    assert sorted(read.trainable) == sorted(leaves)
    close(run(read, leaves, **{argument: X}), EXPECTED)


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_is_differentiable_in_its_leaves(name: str) -> None:
    model, params, leaves = MODELS[name]
    read = read_jax(model, params, {"x": X})
    args, kwargs = bind(read.target, read.skip, {"x": X})
    own = read.tree.build({path: jnp.asarray(leaf) for path, leaf in leaves.items()})
    grads = jax.tree.leaves(jax.jit(jax.grad(lambda own: read.call(own, *args, **kwargs).sum()))(own))
    bias = next(g for g in grads if g.shape == (2,))
    close(bias, np.full(2, len(X)))  # every sample adds one


class Noisy(nnx.Module):
    """Statistics, dropout, a counter, a table and a cache beside the parameters."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(3, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.count = nnx.Variable(jnp.arange(2))
        self.table = nnx.Variable(jnp.array([1.0, 2.0]))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dropout(self.norm(self.linear(x))) * self.table[...] + self.count[...]


STATISTICS = {
    "linear/kernel": KERNEL,
    "linear/bias": BIAS,
    "norm/scale": np.array([2.0, 3.0]),
    "norm/bias": np.array([0.5, -0.5]),
    "norm/mean": np.array([0.1, 0.2]),
    "norm/var": np.array([1.5, 2.5]),
    "table": np.array([1.0, 2.0]),
}
NORMALISED = (EXPECTED - STATISTICS["norm/mean"]) / np.sqrt(STATISTICS["norm/var"] + 1e-5)
NORMALISED = NORMALISED * STATISTICS["norm/scale"] + STATISTICS["norm/bias"]


def test_nnx_state_is_a_weight_and_the_mode_is_the_users() -> None:
    training = Noisy(nnx.Rngs(0))
    notes = read_jax(training).notes
    assert any("training mode (BatchNorm)" in note for note in notes)
    assert any("deterministic=True (Dropout)" in note for note in notes)
    assert training.dropout.deterministic is False, "the user's model keeps its mode"
    model = Noisy(nnx.Rngs(0))
    model.eval()
    read = read_jax(model)
    assert sorted(read.weights) == sorted(STATISTICS)
    assert sorted(read.trainable) == ["linear/bias", "linear/kernel", "norm/bias", "norm/scale"]
    close(run(read, STATISTICS, x=X), NORMALISED * [1, 2] + [0, 1])
    assert read.notes == ()
    assert np.all(model.norm.mean[...] == 0)


def test_nnx_tied_weights_are_one_leaf() -> None:
    class Tied(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(3, 3, rngs=rngs)
            self.second = self.first

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.second(self.first(x))

    assert sorted(read_jax(Tied(nnx.Rngs(0))).weights) == ["first/bias", "first/kernel"]


class LinenNet(nn.Module):
    """Mode as a required argument, statistics, dropout, a table and a counter in collections of their own."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Dense(2, kernel_init=nn.with_partitioning(nn.initializers.zeros, ("a", "b")))(x)
        x = nn.BatchNorm(use_running_average=not train, epsilon=1e-5)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        table = self.variable("tables", "table", lambda: jnp.array([1.0, 2.0]))
        count = self.variable("tables", "count", lambda: jnp.arange(2))
        return x * table.value + count.value


LINEN = {
    "params/Dense_0/kernel": KERNEL,
    "params/Dense_0/bias": BIAS,
    **{f"params/BatchNorm_0/{leaf}": STATISTICS[f"norm/{leaf}"] for leaf in ("scale", "bias")},
    **{f"batch_stats/BatchNorm_0/{leaf}": STATISTICS[f"norm/{leaf}"] for leaf in ("mean", "var")},
}


@pytest.mark.parametrize("given", ["nothing", "params", "all"])
def test_linen_collections_are_weights_and_the_mode_is_inference(given: str) -> None:
    module = LinenNet()
    variables = module.init(jax.random.key(0), X, train=False)
    params = {"nothing": None, "params": nn.unbox(variables["params"]), "all": variables}[given]
    read = read_jax(module, params, {"x": X})
    assert sorted(read.weights) == sorted([*LINEN, "tables/table"])
    assert all(path.startswith("params/") for path in read.trainable)
    assert len(read.trainable) == 4
    close(run(read, LINEN, x=X), NORMALISED * [1, 2] + [0, 1])
    assert "the JAX model was run with train=False" in read.notes
    assert any("batch_stats" in note for note in read.notes) == (given == "params")


def test_linen_mode_that_neither_module_nor_caller_says() -> None:
    read = read_jax(nn.BatchNorm(epsilon=1e-5), None, {"x": EXPECTED.astype(np.float32)})
    leaves = {path.replace("/BatchNorm_0", ""): leaf for path, leaf in LINEN.items() if "Batch" in path}
    close(run(read, leaves, x=EXPECTED.astype(np.float32)), NORMALISED)
    fixed = read_jax(nn.BatchNorm(use_running_average=True), None, {"x": X})
    assert not fixed.notes


def test_linen_dropout_left_on_says_what_to_do() -> None:
    class On(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dropout(0.5, deterministic=False)(nn.Dense(2)(x))

    read = read_jax(On(), None, {"x": X})
    with pytest.raises(Exception, match="PRNG") as raised:
        run(read, {}, x=X)
    assert any("switch" in note for note in raised.value.__notes__)


class EqxNet(eqx.Module):
    """Dropout that is on, a function and an integer among the leaves, an optional layer."""

    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    activation: Any
    count: jax.Array
    nothing: None = None

    def __call__(self, x: jax.Array, key: jax.Array) -> jax.Array:
        x = jax.vmap(self.linear)(x)
        return self.activation(self.dropout(x, key=key)) + self.count


def test_equinox_keeps_what_is_no_weight_and_runs_in_inference_mode() -> None:
    linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    model = EqxNet(linear, eqx.nn.Dropout(0.5), jnp.tanh, jnp.arange(2))
    read = read_jax(model, None, {"x": X})
    assert sorted(read.weights) == ["linear/bias", "linear/weight"]
    close(run(read, {"linear/weight": KERNEL.T, "linear/bias": BIAS}, x=X), np.tanh(EXPECTED) + np.arange(2))
    assert read.notes == ("the Equinox model was run in eqx.nn.inference_mode",)
    assert model.dropout.inference is False


def test_equinox_without_weights() -> None:
    class Gate(eqx.Module):
        power: int = 2

        def __call__(self, x: jax.Array) -> jax.Array:
            return x**self.power

    read = read_jax(Gate(), None, {"x": X})
    assert not read.weights
    close(run(read, {}, x=X), X**2)


@pytest.mark.parametrize("name", ["state", "memory"])
def test_equinox_state_is_a_weight(name: str) -> None:
    class Net(eqx.Module):
        linear: eqx.nn.Linear
        norm: eqx.nn.BatchNorm

        def __init__(self) -> None:
            self.linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
            self.norm = eqx.nn.BatchNorm(2, axis_name="batch", mode="batch")

    def with_state(self: Net, x: jax.Array, state: Any) -> Any:
        return self.norm(self.linear(x), state)

    def with_memory(self: Net, x: jax.Array, memory: Any) -> Any:
        return self.norm(self.linear(x), memory)

    model = eqx.nn.make_with_state(
        type("Called", (Net,), {"__call__": {"state": with_state, "memory": with_memory}[name]})
    )
    read = read_jax(model(), None, {"x": X})
    parameters = ["model/linear/bias", "model/linear/weight", "model/norm/bias", "model/norm/weight"]
    statistics = sorted(set(read.weights) - set(parameters))
    assert [read.weights[path].shape for path in statistics] == [(2,), (2,)]
    assert sorted(read.trainable) == parameters
    numbers = (BIAS, KERNEL.T, STATISTICS["norm/bias"], STATISTICS["norm/scale"])
    leaves = dict(zip(parameters, numbers, strict=True))
    leaves |= dict(zip(statistics, [STATISTICS["norm/mean"], STATISTICS["norm/var"]], strict=True))
    close(run(read, leaves, x=X), NORMALISED)


def test_haiku_state_is_a_weight() -> None:
    def net(x: jax.Array, is_training: bool) -> jax.Array:
        return hk.BatchNorm(True, True, 0.9, eps=1e-5)(hk.Linear(2)(x), is_training)

    model = hk.transform_with_state(net)
    read = read_jax(model, None, {"x": X})
    assert "the JAX model was run with is_training=False" in read.notes
    leaves = {
        "params/linear/w": KERNEL,
        "params/linear/b": BIAS,
        "params/batch_norm/scale": STATISTICS["norm/scale"],
        "params/batch_norm/offset": STATISTICS["norm/bias"],
        "state/batch_norm/~/mean_ema/average": STATISTICS["norm/mean"],
        "state/batch_norm/~/var_ema/average": STATISTICS["norm/var"],
    }
    assert set(leaves) < set(read.weights)
    assert sorted(read.trainable) == sorted(path for path in leaves if path.startswith("params"))
    leaves = {path: np.reshape(leaf, read.weights[path].shape) for path, leaf in leaves.items()}
    close(run(read, leaves, x=X), NORMALISED)


def test_an_object_that_takes_its_params_as_an_argument() -> None:
    class Pretrained:
        params = NATURAL

        def __call__(self, x: Any, mask: Any = None, params: Any = None, train: bool = False) -> Any:
            return plain(self.params if params is None else params, x) * (2 if train else 1)

    read = read_jax(Pretrained())
    close(read.weights["kernel"], KERNEL)
    close(run(read, {"kernel": 2 * KERNEL, "bias": 2 * BIAS}, pixels=X), 2 * EXPECTED)


def test_modes_of_functions() -> None:
    def function(params: Any, x: jax.Array, train: bool = True, deterministic: bool = True) -> jax.Array:
        return plain(params, x) * (2 if train else 1) * (1 if deterministic else 5)

    read = read_jax(function, TEMPLATE)
    close(run(read, NATURAL, x=X), EXPECTED)
    assert read.notes == ("the JAX model was run with train=False",)
    chosen = read_jax(functools.partial(function, train=True), TEMPLATE)
    close(run(chosen, NATURAL, x=X), 2 * EXPECTED)
    assert not chosen.notes
    given = read_jax(
        lambda params, x, train: plain(params, x) * (1 + train), TEMPLATE, {"x": X, "train": np.array(True)}
    )
    close(run(given, NATURAL, x=X, train=True), 2 * EXPECTED)


def test_what_is_not_floating_is_kept() -> None:
    class State(NamedTuple):
        kernel: Any
        bias: Any
        order: Any
        name: str | None = None

    def function(params: State, x: jax.Array) -> jax.Array:
        return (x @ params.kernel + params.bias)[:, params.order]

    template = State(TEMPLATE["kernel"], TEMPLATE["bias"], jnp.array([1, 0]))
    read = read_jax(function, template)
    assert sorted(read.weights) == ["bias", "kernel"]
    close(run(read, NATURAL, x=X), EXPECTED[:, ::-1])
    with pytest.raises(ValueError, match="only shapes for order"):
        read_jax(function, template._replace(order=jax.ShapeDtypeStruct((2,), "int32")))


def test_whole_numbers_of_a_template_that_are_all_zero_are_said():
    """Quantised weights are in no plan: what the template has for them is what the model runs with."""
    template = {
        "q": np.zeros((3, 2), np.int8),
        "scale": np.zeros(2, np.float32),
        "step": np.zeros((), np.int32),
    }
    read = read_jax(lambda p, x: x @ (p["q"] * p["scale"]), template)
    assert [note for note in read.notes if note.startswith("q: what is not floating")], read.notes
    held = read_jax(lambda p, x: x @ (p["q"] * p["scale"]), template | {"q": np.ones((3, 2), np.int8)})
    assert not held.notes


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (3, "of type int"),
        ("model", "of type str"),
        (plain, "together with `template`"),
        (nn.Dense(2), "Linen module without variables"),
        (haiku, "without params"),
        (lambda x, params: x, "together with `template`"),
    ],
)
def test_bad_models_say_what_they_must_be(model: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        read_jax(model)


def test_a_leaked_tracer_is_refused() -> None:
    kept: list[jax.Array] = []
    jax.jit(lambda x: kept.append(x * 2) or x)(jnp.ones(2))
    for model in (lambda x: kept[0], lambda x: x + kept[0]):
        with pytest.raises(TypeError, match=r"float32\[2\] of a computation that has ended"):
            require_no_leaks(jax.make_jaxpr(model)(jnp.ones(2)).consts)
    require_no_leaks(jax.make_jaxpr(lambda x: x + np.ones(2, "float32"))(jnp.ones(2)).consts)


def test_a_constant_inside_a_jitted_function_is_lifted() -> None:
    """JAX keeps a closed-over array as a constant of the inner jaxpr, not of the program's."""
    table = (np.arange(1, 4) / 7).astype(np.float32)
    model = read_jax(jax.jit(lambda params, x: params["scale"] * x * table + table), {"scale": np.ones(3)})
    program = JaxProgram(model, Task(("x",)), ("scale",))
    found = program({}, {"x": X}, "float64")["outputs"]["output"]
    np.testing.assert_allclose(found, X * (np.arange(1, 4) / 7) + np.arange(1, 4) / 7, rtol=1e-14)
    trace = program.trace({}, {"x": X})
    np.testing.assert_allclose(trace.nodes[trace.outputs["outputs"]["output"]].array, found, rtol=1e-14)
