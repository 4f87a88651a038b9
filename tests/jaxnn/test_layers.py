import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import correlation, layers


def correlate_by_loops(x, kernel, bias, strides, padding):
    """The definition of conv2d, number by number."""
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    height, width, _, num_outputs = kernel.shape
    rows = (x.shape[1] - height) // strides[0] + 1
    columns = (x.shape[2] - width) // strides[1] + 1
    y = np.zeros((x.shape[0], rows, columns, num_outputs))
    for n, p, q, k in np.ndindex(*y.shape):
        top, left = p * strides[0], q * strides[1]
        y[n, p, q, k] = bias[k] + np.sum(x[n, top : top + height, left : left + width] * kernel[..., k])
    return y


@st.composite
def convolutions(draw):
    """Images, params, strides and paddings, among them oblong kernels and one-sided paddings."""
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2))
    kernel_height = draw(st.integers(1, min(4, height + sum(padding[0]))))
    kernel_width = draw(st.integers(1, min(4, width + sum(padding[1]))))
    channels, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    x = rng.standard_normal((draw(st.integers(1, 3)), height, width, channels))
    params = {
        "kernel": rng.standard_normal((kernel_height, kernel_width, channels, outputs)),
        "bias": rng.standard_normal(outputs),
    }
    return x, params, (draw(st.integers(1, 3)), draw(st.integers(1, 3))), padding


def test_conv2d_is_its_definition(x64, assert_rounding):
    @settings(max_examples=8)  # each compiles
    @given(convolutions())
    def check(case):
        x, params, strides, padding = case
        actual = layers.conv2d(
            jax.tree.map(jnp.asarray, params), jnp.asarray(x), strides=strides, padding=padding
        )
        expected = correlate_by_loops(x, params["kernel"], params["bias"], strides, padding)
        assert_rounding(actual=actual, expected=expected, scale=10)

    check()


def test_both_forms_of_the_convolution_are_equal_with_their_derivatives(x64, assert_rounding):
    @settings(max_examples=8)  # each compiles
    @given(convolutions())
    def check(case):
        x, params, strides, padding = case
        x, kernel = jnp.pad(x, ((0, 0), *padding, (0, 0))), jnp.asarray(params["kernel"])

        @functools.partial(jax.jit, static_argnums=0)
        def outcome(correlate, x, kernel):
            form = functools.partial(correlate, strides=strides)
            y, pull = jax.vjp(form, x, kernel)
            _, push = jax.jvp(form, (x, kernel), (jnp.sin(x), jnp.sin(kernel)))
            _, push_images = jax.jvp(lambda x: form(x, kernel), (x,), (jnp.sin(x),))
            return y, push, push_images, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

        actual = outcome(correlation.by_slices, x, kernel)
        expected = outcome(correlation.by_xla, x, kernel)
        assert_rounding(actual=actual, expected=expected, scale=10)

    check()


def test_the_platform_chooses_the_form():
    params = {"kernel": jnp.ones((3, 3, 1, 2)), "bias": jnp.zeros(2)}
    traced = jax.jit(jax.grad(lambda p, x: layers.conv2d(p, x).sum())).trace(params, jnp.ones((2, 5, 5, 1)))
    assert "stablehlo.convolution" not in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.convolution" in traced.lower(lowering_platforms=("cuda",)).as_text()


def test_conv2d_gradients(assert_derivative):
    x, params, strides, padding = (
        jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 5, 2))),
        layers.init_layer(jax.random.key(0), (3, 3, 2, 3), jnp.float64),
        (2, 2),
        ((1, 1), (1, 1)),
    )

    def loss(inputs):
        return jnp.sin(layers.conv2d(inputs["params"], inputs["x"], strides=strides, padding=padding)).sum()

    assert_derivative(loss, {"params": params, "x": x})


def test_conv2d_under_vmap_scan_and_second_derivatives(x64, assert_rounding):
    kernels = jax.random.normal(jax.random.key(0), (4, 2, 2, 1, 1))
    x = jax.random.normal(jax.random.key(1), (3, 4, 4, 1))

    def loss(kernel):
        return jnp.square(layers.conv2d({"kernel": kernel, "bias": jnp.zeros(1)}, x)).sum()

    one_by_one = jnp.stack([jax.grad(loss)(kernel) for kernel in kernels])
    assert_rounding(actual=jax.vmap(jax.grad(loss))(kernels), expected=one_by_one, scale=100)
    scanned = jax.lax.scan(lambda carry, kernel: (carry, jax.grad(loss)(kernel)), 0, kernels)[1]
    assert_rounding(actual=scanned, expected=one_by_one, scale=100)
    # The loss is a quadratic form: half its Hessian times the kernel is half its gradient.
    hessian = jax.hessian(loss)(kernels[0]).reshape(4, 4)
    assert_rounding(actual=hessian @ kernels[0].reshape(4), expected=one_by_one[0].reshape(4), scale=100)


def test_dense(x64, assert_rounding):
    rng = np.random.default_rng(0)
    x, kernel, bias = rng.standard_normal((5, 7)), rng.standard_normal((7, 3)), rng.standard_normal(3)
    actual = layers.dense({"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}, jnp.asarray(x))
    expected = [[sum(row[i] * kernel[i, k] for i in range(7)) + bias[k] for k in range(3)] for row in x]
    assert_rounding(actual=actual, expected=np.array(expected), scale=10)


def test_avg_pool_leaves_out_what_fills_no_window(x64, assert_rounding):
    x = np.random.default_rng(0).standard_normal((2, 7, 5, 3))
    expected = np.stack(
        [
            np.stack([x[:, p : p + 2, q : q + 2].sum(axis=(1, 2)) / 4 for q in (0, 2)], axis=1)
            for p in (0, 2, 4)
        ],
        axis=1,
    )
    assert_rounding(actual=layers.avg_pool(jnp.asarray(x), 2), expected=expected)


def test_global_avg_pool_is_the_largest_avg_pool(x64, assert_rounding):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 3)))
    assert_rounding(
        actual=layers.global_avg_pool(x), expected=np.asarray(x).reshape(2, 16, 3).sum(axis=1) / 16
    )
    assert_rounding(
        actual=layers.flatten_channels_first(layers.avg_pool(x, 4)), expected=layers.global_avg_pool(x)
    )


def test_flatten_channels_first_differs_from_a_reshape():
    x = jnp.arange(24.0).reshape(1, 2, 3, 4)
    expected = [float(x[0, h, w, c]) for c in range(4) for h in range(2) for w in range(3)]
    assert layers.flatten_channels_first(x)[0].tolist() == expected
    assert x.reshape(1, -1)[0].tolist() != expected


def test_init_layer_takes_its_fan_in_from_the_kernel():
    for shape, fan_in in (((100, 1000), 100), ((3, 3, 11, 1000), 99)):
        drawn = layers.init_layer(jax.random.key(0), shape)
        bound = fan_in**-0.5
        for leaf in drawn.values():
            assert 0.98 * bound < float(jnp.abs(leaf).max()) <= bound * (1 + 1e-6)
        assert drawn["kernel"].shape == shape
        assert not np.isin(drawn["bias"], drawn["kernel"]).all()  # drawn with keys of their own


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: layers.dense({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}, jnp.ones((1, 4))),
            r"\(N, 3\)",
        ),
        (
            lambda: layers.conv2d(
                {"kernel": jnp.ones((3, 3, 2, 1)), "bias": jnp.ones(1)}, jnp.ones((1, 4, 4, 1))
            ),
            r"\(N, H, W, 2\)",
        ),
        (
            lambda: layers.conv2d(
                {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.ones(1)}, jnp.ones((1, 2, 4, 1))
            ),
            "at least as large as the kernel",
        ),
        (lambda: layers.avg_pool(jnp.ones((1, 3, 4, 1)), 4), "`size` is 4"),
        (lambda: layers.avg_pool(jnp.ones((1, 3, 4, 1)), 0), "`size` is 0"),
    ],
)
def test_errors_name_the_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call()
