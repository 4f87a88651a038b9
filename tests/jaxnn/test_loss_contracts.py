"""What every loss keeps to: its definition in NumPy, dtypes, one compilation, `vmap`, errors."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special

from jaxnn import losses
from tests.jaxnn.loss_cases import TWINS

ABSENT = {
    "NLLLoss2d": "an old name of NLLLoss",
    "AdaptiveLogSoftmaxWithLoss": "a layer with weights; adaptive_log_softmax_loss takes them as arguments",
}
"""Losses of `torch.nn` without a function of their name, and why."""

RNG = np.random.default_rng(7)
X, Y, Z = RNG.standard_normal((3, 4, 3))
Q, P = special.softmax(X, axis=1), special.softmax(Y, axis=1)
LOG_Q = np.log(Q)
CLASSES = np.array([2, 0, 1, 0])
SIGNS = np.array([[1, -1, 1], [-1, -1, 1], [1, 1, -1], [-1, 1, -1]])
ROWS = range(4)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def binary(q, y):
    return -(y * np.log(q) + (1 - y) * np.log(1 - q))


def distance(a, b, p=2):
    return (np.abs(a - b + 1e-6) ** p).sum(axis=1) ** (1 / p)


def cosines():
    return np.array([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(X, Y, strict=True)])


def several_right(x, right):
    return sum(max(0, 1 - (x[k] - x[c])) for k in right for c in range(3) if c not in right) / 3


ORACLES = {
    "l1_loss": ((X, Y), {}, np.abs(X - Y)),
    "mse_loss": ((X, Y), {}, (X - Y) ** 2),
    "smooth_l1_loss": (
        (X, Y),
        {"beta": 0.5},
        np.where(abs(X - Y) < 0.5, (X - Y) ** 2, abs(X - Y) - 0.25),
    ),
    "huber_loss": (
        (X, Y),
        {"delta": 0.5},
        np.where(abs(X - Y) < 0.5, (X - Y) ** 2 / 2, 0.5 * (abs(X - Y) - 0.25)),
    ),
    "cross_entropy_loss": (
        (X, CLASSES),
        {"label_smoothing": 0.3},
        -((0.7 * np.eye(3)[CLASSES] + 0.1) * LOG_Q).sum(axis=1),
    ),
    "linear_cross_entropy_loss": (
        (X, Y, CLASSES),
        {},
        [-np.log(special.softmax(X @ Y.T, axis=1)[n, CLASSES[n]]) for n in ROWS],
    ),
    "nll_loss": ((LOG_Q, CLASSES), {}, [-LOG_Q[n, CLASSES[n]] for n in ROWS]),
    "poisson_nll_loss": (
        (X, np.full((4, 3), 3.0)),
        {"full": True},
        np.exp(X) - 3 * X + 3 * np.log(3) - 3 + np.log(6 * np.pi) / 2,
    ),
    "gaussian_nll_loss": (
        (X, Y, Q),
        {"full": True},
        -np.log(np.exp(-((X - Y) ** 2) / (2 * Q)) / np.sqrt(2 * np.pi * Q)),
    ),
    "kl_div_loss": ((LOG_Q, P), {}, P * np.log(P / Q)),
    "bce_loss": ((Q, P), {}, binary(Q, P)),
    "bce_with_logits_loss": (
        (X, P),
        {"pos_weight": np.array([2.0, 1.0, 0.5])},
        -(P * [2.0, 1.0, 0.5] * np.log(logistic(X)) + (1 - P) * np.log(1 - logistic(X))),
    ),
    "multi_label_soft_margin_loss": ((X, P), {}, binary(logistic(X), P).mean(axis=1)),
    "soft_margin_loss": ((X, SIGNS), {}, np.log(1 + np.exp(-SIGNS * X))),
    "margin_ranking_loss": ((X, Y, SIGNS), {"margin": 0.5}, np.maximum(0, 0.5 - SIGNS * (X - Y))),
    "hinge_embedding_loss": ((X, SIGNS), {}, np.where(SIGNS == 1, X, np.maximum(0, 1 - X))),
    "multi_margin_loss": (
        (X, CLASSES),
        {"p": 2},
        [
            sum(max(0, 1 - X[n, CLASSES[n]] + X[n, c]) ** 2 for c in range(3) if c != CLASSES[n]) / 3
            for n in ROWS
        ],
    ),
    "multi_label_margin_loss": (
        (X, np.array([[0, -1, 1], [2, 1, -1], [-1, 0, 0], [1, -1, -1]])),
        {},
        [several_right(x, right) for x, right in zip(X, ([0], [2, 1], [], [1]), strict=True)],
    ),
    "cosine_embedding_loss": (
        (X, Y, np.array([1, -1, 1, -1])),
        {},
        np.where([True, False, True, False], 1 - cosines(), np.maximum(0, cosines())),
    ),
    "triplet_margin_loss": (
        (X, Y, Z),
        {"p": 3, "swap": True},
        np.maximum(0, 1 + distance(X, Y, 3) - np.minimum(distance(X, Z, 3), distance(Y, Z, 3))),
    ),
    "triplet_margin_with_distance_loss": (
        (X, Y, Z),
        {},
        np.maximum(0, 1 + distance(X, Y) - distance(X, Z)),
    ),
}
NEAR = {"cosine_embedding_loss": 1e-11}
"""Where the definition leaves out a constant of PyTorch's, 1e-12 beside a squared norm."""


def as_jax(x, dtype=jnp.float64):
    return jnp.asarray(x, dtype if isinstance(x, np.ndarray) and x.dtype == np.float64 else None)


def call(name, dtype=jnp.float64, **more):
    arguments, options, _ = ORACLES[name]
    options = {k: as_jax(v, dtype) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return getattr(losses, name)(*(as_jax(x, dtype) for x in arguments), **options, **more)


@pytest.mark.parametrize("name", ORACLES)
def test_definitions(name, x64, assert_rounding):
    expected = np.asarray(ORACLES[name][2])
    actual = call(name, reduction="none")
    if name in NEAR:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=NEAR[name])
    else:
        assert_rounding(actual=actual, expected=expected)
    assert_rounding(actual=call(name, reduction="sum"), expected=np.sum(np.asarray(actual)), scale=1.0)
    assert_rounding(actual=call(name), expected=np.mean(np.asarray(actual)), scale=1.0)


@pytest.mark.parametrize("name", ORACLES)
def test_float32_compiled_once_and_mapped(name, assert_rounding):
    arguments, options, expected = ORACLES[name]
    options = {k: as_jax(v, jnp.float32) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    traced = []

    @jax.jit
    def run(*arguments):
        traced.append(name)
        return getattr(losses, name)(*arguments, **options, reduction="none")

    shared = name == "linear_cross_entropy_loss"
    for i in (1, 2):
        value = run(*(as_jax(x, jnp.float32) for x in arguments))
        assert (value.dtype, len(traced)) == (jnp.float32, 1), i
    np.testing.assert_allclose(value, np.asarray(expected), rtol=0, atol=2e-5)
    axes = [None if shared and i == 1 else 0 for i in range(len(arguments))]
    mapped = jax.vmap(run, in_axes=axes)(*(as_jax(x, jnp.float32) for x in arguments))
    np.testing.assert_allclose(mapped, value, rtol=1e-5, atol=1e-6)


def test_every_loss_of_torch_is_here():
    """Its function is named after the class, and stands in the tables of cases."""
    names = {name for name in dir(torch.nn) if name.endswith("Loss")} | set(torch.nn.modules.loss.__all__)
    assert ABSENT.keys() < names
    twins = {twin.split(",")[0].split(" ")[0] for twin in TWINS}
    for name in names - ABSENT.keys():
        function = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
        assert function in losses.__all__, name
        if function != "ctc_loss":  # its tests are in test_ctc_loss.py
            assert function in ORACLES, name
            assert function in twins, name


def test_options_have_the_names_and_defaults_of_torch():
    aliases = {
        "kl_div_loss": "kl_div",
        "cross_entropy_loss": "cross_entropy",
        "linear_cross_entropy_loss": "linear_cross_entropy",
        "bce_loss": "binary_cross_entropy",
        "bce_with_logits_loss": "binary_cross_entropy_with_logits",
        "multi_label_margin_loss": "multilabel_margin_loss",
        "multi_label_soft_margin_loss": "multilabel_soft_margin_loss",
    }
    legacy = {"size_average", "reduce", "options"}
    for name in (*ORACLES, "ctc_loss"):
        port = inspect.signature(inspect.unwrap(getattr(losses, name))).parameters
        reference = inspect.signature(getattr(F, aliases.get(name, name))).parameters
        assert set(port) == set(reference) - legacy, name
        for parameter, value in port.items():
            assert value.default == reference[parameter].default, (name, parameter)
            keyword = value.kind is inspect.Parameter.KEYWORD_ONLY
            assert keyword == (value.default is not inspect.Parameter.empty), (name, parameter)


def test_saturated_soft_margins_stay_finite(x64):
    """PyTorch's overflow."""
    x, y = np.array([1e4, 1e4, -1e4, 800.0]), np.array([1.0, -1.0, 1.0, -1.0])
    value, pull = jax.vjp(
        lambda x: losses.soft_margin_loss(x, jnp.asarray(y), reduction="none"), jnp.asarray(x)
    )
    assert value.tolist() == [0.0, 1e4, 1e4, 800.0]
    assert pull(jnp.ones(4))[0].tolist() == [0.0, 1.0, -1.0, 1.0]
    reference = F.soft_margin_loss(torch.tensor(x), torch.tensor(y), reduction="none")
    assert reference.tolist() == [0.0, np.inf, np.inf, np.inf]


def test_small_cross_entropies_keep_their_digits(x64):
    """PyTorch's lose one of two mirror images, optax's those of large logits."""
    x, y = jnp.array([-40.0, 40.0]), jnp.array([0.0, 1.0])
    value = losses.bce_with_logits_loss(x, y, reduction="none")
    np.testing.assert_allclose(value, np.exp(-40.0), rtol=1e-14)
    reference = F.binary_cross_entropy_with_logits(
        torch.tensor([-40.0, 40.0]).double(), torch.tensor([0.0, 1.0]).double(), reduction="none"
    )
    assert reference[0] == 0
    large = jnp.array([[1e4 + 25.0, 1e4]])
    np.testing.assert_allclose(
        losses.cross_entropy_loss(large, jnp.array([0])), np.log1p(np.exp(-25.0)), rtol=1e-4
    )


def test_a_count_of_zero_has_a_gradient(x64):
    """PyTorch's is NaN."""
    grad = jax.grad(lambda y: losses.poisson_nll_loss(jnp.array([-1.0]), y, full=True))(jnp.zeros(1))
    assert grad.tolist() == [1.0]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("nll_loss", [0, 3, 1]),
        ("nll_loss", [0, -1, 1]),
        ("cross_entropy_loss", [0, 3, 1]),
        ("multi_margin_loss", [0, 3, 1]),
        ("multi_margin_loss", [0, -1, 1]),
        ("multi_label_margin_loss", [[0, -1, 0], [1, -1, 3], [2, -1, 0]]),
        ("multi_label_margin_loss", [[0, -1, 0], [1, -2, 0], [2, -1, 0]]),
    ],
)
def test_an_index_that_is_no_class_gives_nan(name, target):
    """In the loss and the gradient of its sample, and nowhere else."""
    loss = getattr(losses, name)
    value, pull = jax.vjp(
        lambda x: loss(x, jnp.array(target), reduction="none"), jnp.asarray(X[:3], jnp.float32)
    )
    assert np.isnan(value).tolist() == [False, True, False]
    assert np.isnan(pull(jnp.ones(3))[0]).any(axis=1).tolist() == [False, True, False]


def test_values_that_torch_refuses_give_nan():
    assert np.isnan(losses.bce_loss(jnp.array([0.5, 1.5]), jnp.array([1, 1])))
    variances = losses.gaussian_nll_loss(jnp.zeros(2), jnp.zeros(2), jnp.array([-1.0, 1.0]), reduction="none")
    assert np.isnan(variances).tolist() == [True, False]


def test_adaptive_log_softmax(x64, assert_rounding):
    torch.manual_seed(0)
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(6, 9, cutoffs=[3, 5], div_value=2.0, head_bias=True).double()
    x, y = torch.randn(5, 6, dtype=torch.float64, requires_grad=True), torch.tensor([0, 8, 4, 2, 5])
    reference = module(x, y)
    weights = [module.head.weight, *(layer.weight for pair in module.tail for layer in pair)]
    grads = torch.autograd.grad(reference.loss, [x, *weights, module.head.bias])
    leaves = [jnp.asarray(leaf.detach().numpy()) for leaf in (x, *weights, module.head.bias)]

    def loss(x, head, a, b, c, d, bias):
        result = losses.adaptive_log_softmax_loss(
            x, jnp.asarray(y.numpy()), head, [(a, b), (c, d)], head_bias=bias
        )
        return result.loss, result.output

    (value, output), port = jax.jit(jax.value_and_grad(loss, argnums=range(7), has_aux=True))(*leaves)
    assert_rounding(actual=value, expected=reference.loss.item())
    assert_rounding(actual=output, expected=reference.output.detach().numpy())
    assert_rounding(actual=port, expected=tuple(grad.numpy() for grad in grads))
    tail = [(leaves[2], leaves[3]), (leaves[4], leaves[5])]
    one = leaves[0][0]
    log_q = jax.jit(jax.vmap(lambda k: losses.adaptive_log_softmax_loss(one, k, leaves[1], tail).output))(
        jnp.arange(-1, 10)
    )
    assert np.isnan(log_q[jnp.array([0, 10])]).all()  # no classes
    assert_rounding(actual=jnp.sum(jnp.exp(log_q[1:10])), expected=np.float64(1))


ROW, COLUMN = jnp.zeros(3), jnp.zeros((3, 1))
SCORES, LABELS = jnp.zeros((4, 3)), jnp.zeros(4, int)
EQUAL = r"`target` has shape \(3, 1\), `input` \(3,\): they must be equal; reshape"
MANY = ["l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "kl_div_loss", "bce_loss"]
MANY += ["bce_with_logits_loss", "multi_label_soft_margin_loss", "soft_margin_loss", "hinge_embedding_loss"]
WRONG = [
    *((name, (ROW, COLUMN), {}, ValueError, EQUAL) for name in MANY),
    ("gaussian_nll_loss", (ROW, COLUMN, ROW), {}, ValueError, EQUAL),
    ("gaussian_nll_loss", (SCORES, SCORES, jnp.ones(3)), {}, ValueError, r"`var` has shape \(3,\)"),
    ("gaussian_nll_loss", (ROW, ROW, -1.0), {}, ValueError, "`var` is -1.0: it must be at least 0"),
    ("gaussian_nll_loss", (ROW, ROW, ROW), {"eps": 0}, ValueError, "`eps` is 0: it must be greater than 0"),
    ("l1_loss", (ROW, ROW), {"weight": COLUMN}, ValueError, r"`weight` has shape \(3, 1\)"),
    ("huber_loss", (ROW, ROW), {"weight": COLUMN}, ValueError, r"`weight` has shape \(3, 1\)"),
    ("bce_loss", (ROW, ROW), {"weight": COLUMN}, ValueError, r"`weight` has shape \(3, 1\), `input` \(3,\)"),
    ("bce_with_logits_loss", (ROW, ROW), {"pos_weight": jnp.ones(2)}, ValueError, "`pos_weight` has shape"),
    ("multi_label_soft_margin_loss", (jnp.zeros(()), jnp.zeros(())), {}, ValueError, "`input` has shape"),
    ("smooth_l1_loss", (ROW, ROW), {"beta": -1.0}, ValueError, "`beta` is -1.0: it must be at least 0"),
    ("huber_loss", (ROW, ROW), {"delta": 0.0}, ValueError, "`delta` is 0.0: it must be greater than 0"),
    ("nll_loss", (SCORES, jnp.zeros((4, 1), int)), {}, ValueError, r"`target` has shape \(4, 1\)"),
    ("nll_loss", (SCORES, jnp.zeros(4)), {}, TypeError, "`target` has shape .* dtype float32"),
    ("nll_loss", (jnp.zeros(()), LABELS), {}, ValueError, r"`input` has shape \(\)"),
    ("nll_loss", (SCORES, LABELS), {"weight": jnp.ones(4)}, ValueError, r"`weight` has shape \(4,\)"),
    ("cross_entropy_loss", (SCORES, jnp.zeros(4)), {}, TypeError, "`target` has shape .* dtype float32"),
    ("cross_entropy_loss", (SCORES, SCORES.astype(int)), {}, TypeError, "`target` has the shape of `input`"),
    ("cross_entropy_loss", (SCORES, SCORES), {"ignore_index": 1}, ValueError, "`ignore_index` is 1"),
    ("cross_entropy_loss", (SCORES, LABELS), {"label_smoothing": 2}, ValueError, "`label_smoothing` is 2"),
    ("linear_cross_entropy_loss", (SCORES, jnp.zeros((3, 4)), LABELS), {}, ValueError, "`linear_weight` has"),
    (
        "linear_cross_entropy_loss",
        (SCORES, jnp.zeros((5, 3)), LABELS),
        {"linear_bias": ROW},
        ValueError,
        r"`linear_bias` has shape \(3,\)",
    ),
    (
        "linear_cross_entropy_loss",
        (SCORES, jnp.zeros((5, 3)), jnp.zeros((4, 5))),
        {"ignore_index": -100},
        ValueError,
        "`ignore_index` is -100",
    ),
    ("margin_ranking_loss", (ROW, COLUMN, ROW), {}, ValueError, r"`input2` has shape \(3, 1\)"),
    ("margin_ranking_loss", (ROW, ROW, COLUMN), {}, ValueError, r"`target` has shape \(3, 1\)"),
    ("multi_margin_loss", (SCORES, LABELS), {"p": 3}, ValueError, "`p` is 3: it must be 1 or 2"),
    ("multi_margin_loss", (SCORES, ROW), {}, ValueError, r"`target` has shape \(3,\)"),
    ("multi_margin_loss", (SCORES, jnp.zeros(4)), {}, TypeError, "must hold integers"),
    ("multi_margin_loss", (SCORES, LABELS), {"weight": jnp.ones(4)}, ValueError, "`weight` has shape"),
    ("multi_margin_loss", (jnp.zeros((2, 2, 2)), LABELS), {}, ValueError, r"`input` has shape \(2, 2, 2\)"),
    ("multi_label_margin_loss", (SCORES, LABELS), {}, ValueError, r"`target` has shape \(4,\)"),
    ("multi_label_margin_loss", (SCORES, SCORES), {}, TypeError, "must hold integers"),
    ("cosine_embedding_loss", (SCORES, ROW, LABELS), {}, ValueError, r"`input2` has shape \(3,\)"),
    ("cosine_embedding_loss", (SCORES, SCORES, ROW), {}, ValueError, r"`target` has shape \(3,\)"),
    ("triplet_margin_loss", (SCORES, SCORES, ROW), {}, ValueError, r"`negative` has shape \(3,\)"),
    ("triplet_margin_loss", (SCORES, SCORES, SCORES), {"margin": 0}, ValueError, "`margin` is 0"),
    ("triplet_margin_loss", (SCORES, SCORES, SCORES), {"p": -1}, ValueError, "`p` is -1"),
    ("triplet_margin_with_distance_loss", (ROW, ROW, ROW), {"margin": -1.0}, ValueError, "`margin` is -1.0"),
    ("pairwise_distance", (jnp.zeros(()), jnp.zeros(())), {}, ValueError, r"`x1` has shape \(\)"),
    ("adaptive_log_softmax_loss", (SCORES, ROW, SCORES, []), {}, ValueError, r"`target` has shape \(3,\)"),
    ("adaptive_log_softmax_loss", (SCORES, jnp.zeros(4), SCORES, []), {}, TypeError, "must hold integers"),
    (
        "adaptive_log_softmax_loss",
        (SCORES, LABELS, SCORES, [(jnp.zeros((3, 2)), jnp.zeros((2, 5)))]),
        {},
        ValueError,
        r"`tail\[0\]\[0\]` has shape \(3, 2\).*`tail\[0\]\[1\]` has shape \(2, 5\)",
    ),
    (
        "adaptive_log_softmax_loss",
        (SCORES, LABELS, SCORES, []),
        {"head_bias": ROW},
        ValueError,
        r"`head_bias` has shape \(3,\)",
    ),
    (
        "adaptive_log_softmax_loss",
        (SCORES, LABELS, jnp.zeros((1, 3)), [(SCORES, SCORES)]),
        {},
        ValueError,
        r"`head_weight` has shape \(1, 3\)",
    ),
]


def bare(name):
    """Unwrapped: under pytest the types in a signature are checked before the function's own errors."""
    return inspect.unwrap(getattr(losses, name))


@pytest.mark.parametrize(("name", "arguments", "options", "error", "message"), WRONG)
def test_errors(name, arguments, options, error, message):
    with pytest.raises(error, match=message):
        bare(name)(*arguments, **options)


@pytest.mark.parametrize("name", ORACLES)
def test_an_unknown_reduction(name):
    arguments = [as_jax(x, jnp.float32) for x in ORACLES[name][0]]
    with pytest.raises(ValueError, match="`reduction` is 'average': it must be one of"):
        bare(name)(*arguments, reduction="average")
