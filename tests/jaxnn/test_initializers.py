import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import init as nn_init

from jaxnn import initializers
from tests.jaxnn.conftest import ROUNDINGS

NUM_DRAWS = 100_000


def assert_moments(draws, mean, variance, kurtosis):
    """Within five standard errors; fixed seeds, so this passes or fails for good."""
    draws = np.asarray(draws, np.float64)
    assert abs(draws.mean() - mean) < 5 * np.sqrt(variance / draws.size)
    assert abs(draws.var() - variance) < 5 * variance * np.sqrt((kurtosis - 1) / draws.size)


@pytest.mark.parametrize("scale", [0.01, 0.1, 2.0])
def test_normal(scale):
    draws = initializers.normal(scale)(jax.random.key(0), (NUM_DRAWS,))
    assert_moments(draws, 0.0, scale**2, kurtosis=3)
    # A normal distribution has 4.55 % beyond two standard deviations, a truncated one none.
    assert 0.04 < float((jnp.abs(draws) > 2 * scale).mean()) < 0.051


@pytest.mark.parametrize("fan_in", [1, 9, 4096])
def test_torch_uniform(fan_in):
    draws = initializers.torch_uniform(fan_in)(jax.random.key(1), (NUM_DRAWS,))
    bound = fan_in**-0.5
    assert_moments(draws, 0.0, 1 / (3 * fan_in), kurtosis=9 / 5)
    assert 0.999 * bound < float(jnp.abs(draws).max()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32, jnp.float64])
def test_dtype_and_shape(dtype, x64):
    for initializer in (initializers.normal(0.1), initializers.torch_uniform(3), initializers.zeros):
        drawn = initializer(jax.random.key(0), (2, 3), dtype)
        assert (drawn.dtype, drawn.shape) == (dtype, (2, 3))


def test_zeros():
    assert not initializers.zeros(jax.random.key(0), (3, 2)).any()


def test_equal_arguments_give_the_same_function():
    assert initializers.normal(0.1) is initializers.normal(0.1)
    assert initializers.torch_uniform(9) is initializers.torch_uniform(9)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`scale` is -1"):
        initializers.normal(-1.0)
    with pytest.raises(ValueError, match="`fan_in` is 0"):
        initializers.torch_uniform(0)


RULES = {
    "uniform": (initializers.uniform(-0.5, 0.25), (nn_init.uniform_, (-0.5, 0.25)), (24, 40)),
    "normal": (initializers.normal(0.3, 0.1), (nn_init.normal_, (0.1, 0.3)), (24, 40)),
    "trunc_normal": (
        initializers.trunc_normal(0.1, 0.5, -0.3, 0.8),
        (nn_init.trunc_normal_, (0.1, 0.5, -0.3, 0.8)),
        (24, 40),
    ),
    "xavier_uniform": (initializers.xavier_uniform(5 / 3), (nn_init.xavier_uniform_, (5 / 3,)), (3, 3, 4, 9)),
    "xavier_normal": (initializers.xavier_normal(0.5), (nn_init.xavier_normal_, (0.5,)), (3, 3, 4, 9)),
    "kaiming_uniform": (
        initializers.kaiming_uniform(5**0.5),
        (nn_init.kaiming_uniform_, (5**0.5,)),
        (3, 3, 4, 9),
    ),
    "kaiming_uniform out": (
        initializers.kaiming_uniform(mode="fan_out", nonlinearity="selu"),
        (nn_init.kaiming_uniform_, (0, "fan_out", "selu")),
        (24, 40),
    ),
    "kaiming_normal": (
        initializers.kaiming_normal(mode="fan_out", nonlinearity="relu"),
        (nn_init.kaiming_normal_, (0, "fan_out", "relu")),
        (3, 3, 4, 9),
    ),
    "orthogonal": (initializers.orthogonal(2**0.5), (nn_init.orthogonal_, (2**0.5,)), (24, 40)),
    "sparse": (initializers.sparse(0.3, 0.5), (nn_init.sparse_, (0.3, 0.5)), (24, 40)),
}


def distance(first, second):
    """Largest distance of two empirical distributions, in units in which 1.95 is exceeded once in 1000."""
    first, second = (np.sort(np.ravel(one)) for one in (first, second))
    every = np.concatenate([first, second])
    shares = [np.searchsorted(one, every, side="right") / one.size for one in (first, second)]
    return np.abs(shares[0] - shares[1]).max() * np.sqrt(first.size * second.size / every.size)


def of_torch(fill, arguments, shape, seed=0):
    """What PyTorch draws for a kernel of this shape in JAX's layout."""
    generator = torch.Generator().manual_seed(seed)
    own = (*shape[:-3:-1], *shape[:-2])
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # sparse_ takes its places from the global generator
        return fill(torch.empty(own), *arguments, generator=generator).numpy()


@pytest.mark.parametrize("name", RULES)
def test_rules_are_those_of_torch_in_distribution(name):
    draw, (fill, arguments), shape = RULES[name]
    keys = jax.random.split(jax.random.key(0), 50)
    drawn = [draw(key, shape) for key in keys]
    wanted = [of_torch(fill, arguments, shape, seed) for seed in range(50)]
    assert distance(drawn, wanted) < 1.95
    assert distance(np.multiply(drawn, 1.25), wanted) > 1.95, "the test cannot fail"


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (3, 3, 2, 7), (2, 2, 2, 5)])
def test_orthogonal(shape):
    kernel = np.asarray(initializers.orthogonal(3.0)(jax.random.key(0), shape)).reshape(-1, shape[-1])
    gram = kernel.T @ kernel if kernel.shape[0] >= kernel.shape[1] else kernel @ kernel.T
    np.testing.assert_allclose(gram, 9 * np.eye(len(gram)), atol=9 * ROUNDINGS * np.finfo(np.float32).eps)


@pytest.mark.parametrize(("shape", "groups"), [((3, 2, 2), 1), ((3, 4, 2, 6), 3), ((1, 2, 3, 2, 3), 1)])
def test_dirac_is_that_of_torch(shape, groups):
    weight = nn_init.dirac_(torch.empty(*shape[:-3:-1], *shape[:-2]), groups).numpy()
    kernel = initializers.dirac(groups)(jax.random.key(0), shape)
    assert np.array_equal(np.moveaxis(weight, (0, 1), (-1, -2)), kernel)


def test_eye_constant_and_ones_are_those_of_torch():
    key = jax.random.key(0)
    assert np.array_equal(initializers.eye(key, (3, 5)), nn_init.eye_(torch.empty(5, 3)).numpy().T)
    assert np.array_equal(initializers.constant(0.1)(key, (2,)), nn_init.constant_(torch.empty(2), 0.1))
    assert np.array_equal(initializers.ones(key, (2, 3)), np.ones((2, 3)))


def test_sparse_has_as_many_zeros_per_input_as_torch():
    kernel = initializers.sparse(0.3)(jax.random.key(0), (20, 7))
    weight = nn_init.sparse_(torch.empty(7, 20), 0.3).numpy()
    assert set((kernel == 0).sum(1).tolist()) == set((weight == 0).sum(0).tolist()) == {3}
    assert len({tuple(row) for row in (np.asarray(kernel) == 0).tolist()}) > 1, (
        "not the same places each time"
    )


@pytest.mark.parametrize("param", [None, 0.2])
@pytest.mark.parametrize("name", ["linear", "conv_transpose3d", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_those_of_torch(name, param):
    assert initializers.calculate_gain(name, param) == pytest.approx(nn_init.calculate_gain(name, param))


def test_truncation_keeps_its_bounds():
    drawn = np.asarray(initializers.trunc_normal(0.1, 0.5, -0.3, 0.8)(jax.random.key(0), (NUM_DRAWS,)))
    assert np.float32(-0.3) <= drawn.min() < -0.299
    assert 0.799 < drawn.max() <= np.float32(0.8)


def layers():
    """Layers of PyTorch, with what `layer_defaults` draws for each of their params and in which shape."""
    defaults = initializers.layer_defaults
    attention, unequal = defaults.multi_head_attention(8), defaults.multi_head_attention(8, 6, 4)
    made = {
        "linear": (lambda: nn.Linear(9, 20), defaults.linear(9), {"weight": "kernel", "bias": "bias"}),
        "conv": (lambda: nn.Conv2d(6, 12, (3, 2)), defaults.conv((3, 2, 6, 12)), {"weight": "kernel"}),
        "grouped": (
            lambda: nn.Conv1d(6, 12, 3, groups=3),
            defaults.conv((3, 2, 12)),
            {"weight": "kernel", "bias": "bias"},
        ),
        "transposed": (
            lambda: nn.ConvTranspose2d(12, 6, 2, groups=2),
            defaults.conv_transpose((2, 2, 12, 3)),
            {"weight": "kernel", "bias": "bias"},
        ),
        "embedding": (lambda: nn.Embedding(10, 8), defaults.embedding(), {"weight": "embedding"}),
        "padded": (lambda: nn.Embedding(10, 8, 3), defaults.embedding(3), {"weight": "embedding"}),
        "lstm": (
            lambda: nn.LSTM(5, 8),
            defaults.recurrent(8),
            {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent_kernel", "bias_ih_l0": "bias"},
        ),
        "attention": (
            lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True),
            {"qkv": attention["key"]["kernel"], "zeros": attention["out"]["bias"], **attention["extra"]},
            {"in_proj_weight": "qkv", "in_proj_bias": "zeros", "out_proj.bias": "zeros", "bias_k": "bias_k"},
        ),
        "attention out": (
            lambda: nn.MultiheadAttention(8, 2),
            attention["out"],
            {"out_proj.weight": "kernel"},
        ),
        "unequal": (
            lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=4),
            {name: unequal[name]["kernel"] for name in ("query", "key", "value")},
            {"q_proj_weight": "query", "k_proj_weight": "key", "v_proj_weight": "value"},
        ),
        "bilinear": (
            lambda: nn.Bilinear(4, 6, 5),
            defaults.bilinear(4),
            {"weight": "kernel", "bias": "bias"},
        ),
        "norm": (
            lambda: nn.BatchNorm1d(6),
            defaults.norm(),
            {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"},
        ),
        "prelu": (lambda: nn.PReLU(3), defaults.prelu(), {"weight": "negative_slope"}),
    }
    return [pytest.param(*one, id=name) for name, one in made.items()]


@pytest.mark.parametrize(("make", "draws", "names"), layers())
def test_layers_start_as_those_of_torch(make, draws, names):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        modules = [make().state_dict() for _ in range(100)]
    for tensor, param in names.items():
        wanted = np.stack([module[tensor].numpy() for module in modules])
        keys = jax.random.split(jax.random.key(0), 100)
        drawn = np.stack([draws[param](key, wanted.shape[1:]) for key in keys])
        if np.ptp(wanted) == 0:
            assert np.array_equal(drawn, wanted), tensor
            continue
        always = (wanted == 0).all(0)
        assert np.array_equal((drawn == 0).all(0), always), tensor
        assert distance(drawn[:, ~always], wanted[:, ~always]) < 1.95, tensor
        assert distance(1.5 * drawn[:, ~always], wanted[:, ~always]) > 1.95, f"{tensor}: the test cannot fail"


def test_one_bias_in_the_place_of_two():
    drawn = initializers.layer_defaults.recurrent(16)["summed_bias"](jax.random.key(0), (NUM_DRAWS,))
    assert_moments(drawn, 0.0, 2 / 48, kurtosis=2.4)
    assert 0.45 < float(jnp.abs(drawn).max()) <= 0.5


def test_new_initializers_keep_the_dtype(x64):
    made = [
        initializers.uniform(),
        initializers.trunc_normal(),
        initializers.ones,
        initializers.eye,
        initializers.constant(1.0),
        initializers.xavier_uniform(),
        initializers.kaiming_normal(),
        initializers.orthogonal(),
        initializers.sparse(0.5),
        initializers.layer_defaults.embedding(0)["embedding"],
        initializers.layer_defaults.recurrent(4)["summed_bias"],
    ]
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
        for initializer in made:
            assert initializer(jax.random.key(0), (4, 3), dtype).dtype == dtype
        assert initializers.dirac()(jax.random.key(0), (1, 4, 3), dtype).dtype == dtype


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: initializers.uniform(1.0, 0.0), "`a` is 1.0 and `b` is 0.0"),
        (lambda: initializers.trunc_normal(std=0.0), "`std` is 0.0"),
        (lambda: initializers.trunc_normal(a=1.0, b=1.0), "`a` is 1.0"),
        (lambda: initializers.calculate_gain("gelu"), "`nonlinearity` is 'gelu'.*leaky_relu"),
        (lambda: initializers.kaiming_normal(mode="fan_avg"), "`mode` is 'fan_avg'"),
        (lambda: initializers.xavier_normal()(jax.random.key(0), (3,)), r"`shape` is \(3,\).*torch_uniform"),
        (lambda: initializers.orthogonal()(jax.random.key(0), (3,)), "at least 2 axes"),
        (lambda: initializers.eye(jax.random.key(0), (3,)), "an identity must have 2 axes"),
        (lambda: initializers.sparse(1.5), "`sparsity` is 1.5"),
        (lambda: initializers.sparse(0.5, -1.0), "`std` is -1.0"),
        (lambda: initializers.sparse(0.5)(jax.random.key(0), (1, 2, 3)), "must have 2 axes"),
        (lambda: initializers.dirac(0), "`groups` is 0"),
        (lambda: initializers.dirac(2)(jax.random.key(0), (3, 2, 3)), "divide the 3 outputs"),
        (lambda: initializers.dirac()(jax.random.key(0), (3, 2)), "1 to 3 dimensions"),
    ],
)
def test_bad_arguments_of_the_rules(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_padding_row_must_exist():
    with pytest.raises(IndexError, match="`padding_idx` is 3"):
        initializers.layer_defaults.embedding(3)["embedding"](jax.random.key(0), (3, 2))
