"""Modules against NumPy in float64; the convolutions by loops."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchref import modules

WINDOWED = {"cnn": modules.cnn, "cnn_global_pool": modules.cnn_global_pool}


def arrays(module: nn.Module) -> list[np.ndarray]:
    return [p.detach().numpy() for p in module.parameters()]


def jitter(module: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Parameters of ordinary size in float64, so that no unit is dead and no bias zero."""
    module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.tensor(rng.normal(size=tuple(p.shape)) / np.sqrt(p[0].numel())))
    return module


def convolve(images: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Cross-correlation, 3 x 3, stride 2, padding 1, pixel by pixel."""
    N, C, H, W = images.shape
    padded = np.zeros((N, C, H + 2, W + 2))
    padded[:, :, 1:-1, 1:-1] = images
    out = np.empty((N, len(kernel), (H + 1) // 2, (W + 1) // 2))
    for n, k, i, j in np.ndindex(out.shape):
        out[n, k, i, j] = np.sum(padded[n, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * kernel[k]) + bias[k]
    return out


def test_softmax_module(rng: np.random.Generator) -> None:
    module = modules.SoftmaxModule(7, 3)
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {"W": (7, 3), "b": (3,)}
    assert (module.b == 0).all()
    W, b = arrays(jitter(module, rng))
    x = rng.normal(size=(4, 7))
    np.testing.assert_allclose(module(torch.tensor(x)).detach(), x @ W + b, atol=1e-13)


def test_initial_distribution_of_softmax_module() -> None:
    W = modules.SoftmaxModule(100, 200).W.detach()
    assert abs(W.std() - 0.1) <= 5 * 0.1 / (2 * W.numel()) ** 0.5
    assert abs(W.mean()) <= 5 * 0.1 / W.numel() ** 0.5


@pytest.mark.parametrize(
    ("build", "fan_ins"),
    [
        (lambda: modules.linear(4096, 10), [4096]),
        (lambda: modules.mlp([400, 200, 50]), [400, 200]),
        (modules.cnn, [9, 144, 144]),
        (modules.cnn_global_pool, [9, 144, 144]),
        (lambda: modules.regression(400, 200), [400, 200]),
    ],
)
def test_initial_distribution_is_uniform_by_fan_in(build, fan_ins: list[int]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build()
    parameters = list(module.parameters())
    assert len(parameters) == 2 * len(fan_ins)
    for fan_in, kernel, bias in zip(fan_ins, parameters[::2], parameters[1::2], strict=True):
        bound = fan_in**-0.5
        for p in (kernel.detach(), bias.detach()):
            assert p.abs().max() <= bound
        n = kernel.numel()
        # variance bound^2 / 3; the squares of a uniform sample have the variance 4/45 bound^4
        assert abs(kernel.detach().square().mean() - bound**2 / 3) <= 5 * bound**2 * (4 / 45 / n) ** 0.5
        assert bias.detach().abs().max() > bound / 10


def test_linear_and_mlp(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 6))
    module = jitter(modules.linear(6, 4), rng)
    weight, bias = arrays(module)
    np.testing.assert_allclose(module(torch.tensor(x)).detach(), x @ weight.T + bias, atol=1e-13)

    module = jitter(modules.mlp([6, 5, 4, 3]), rng)
    W0, b0, W1, b1, W2, b2 = arrays(module)
    hidden = np.maximum(x @ W0.T + b0, 0)
    hidden = np.maximum(hidden @ W1.T + b1, 0)
    expected = hidden @ W2.T + b2
    np.testing.assert_allclose(module(torch.tensor(x)).detach(), expected, atol=1e-13)
    assert (expected < 0).any()  # else a ReLU at the end would go unseen


def test_regression(rng: np.random.Generator) -> None:
    module = jitter(modules.regression(6, 4), rng)
    W0, b0, W1, b1 = arrays(module)
    x = rng.normal(size=(5, 6))
    expected = (np.maximum(x @ W0.T + b0, 0) @ W1.T + b1)[:, 0]
    np.testing.assert_allclose(module(torch.tensor(x)).detach(), expected, atol=1e-13)
    assert module(torch.tensor(x[:1])).shape == (1,)


def test_cnn_by_loops(rng: np.random.Generator) -> None:
    module = jitter(modules.cnn((1, 3, 4, 2)), rng)
    images = rng.uniform(size=(2, 1, 64, 64))
    hidden = images
    for kernel, bias in zip(arrays(module)[::2], arrays(module)[1::2], strict=True):
        hidden = np.maximum(convolve(hidden, kernel, bias), 0)
    expected = np.array(
        [
            [image[k, i : i + 4, j : j + 4].mean() for k in range(2) for i in (0, 4) for j in (0, 4)]
            for image in hidden
        ]
    )
    np.testing.assert_allclose(module(torch.tensor(images)).detach(), expected, atol=1e-13)
    assert (expected >= 0).all()


def test_cnn_global_pool_by_loops(rng: np.random.Generator) -> None:
    module = jitter(modules.cnn_global_pool((1, 3, 4, 2)), rng)
    images = rng.uniform(size=(3, 1, 24, 16))
    (k0, b0, k1, b1, k2, b2) = arrays(module)
    hidden = np.maximum(convolve(images, k0, b0), 0)
    hidden = np.maximum(convolve(hidden, k1, b1), 0)
    before_pool = convolve(hidden, k2, b2)
    expected = before_pool.mean(axis=(2, 3))
    np.testing.assert_allclose(module(torch.tensor(images)).detach(), expected, atol=1e-13)
    assert (before_pool < 0).any()  # else a ReLU at the end would go unseen


@pytest.mark.parametrize(("name", "num_logits"), [("cnn", 40), ("cnn_global_pool", 10)])
def test_number_of_logits(name: str, num_logits: int) -> None:
    assert WINDOWED[name]()(torch.zeros(2, 1, 64, 64)).shape == (2, num_logits)


@pytest.mark.parametrize("name", WINDOWED)
def test_order_of_images_does_not_matter(name: str, rng: np.random.Generator) -> None:
    module = WINDOWED[name]().double()
    images = torch.tensor(rng.uniform(size=(4, 1, 64, 64)))
    order = [2, 0, 3, 1]
    torch.testing.assert_close(module(images[order]), module(images)[order])


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (modules.SoftmaxModule(3, 2), (2, 3)),
        (modules.linear(3, 2), (2, 3)),
        (modules.mlp([3, 4, 2]), (2, 3)),
        (modules.regression(3, 4), (2, 3)),
        (modules.cnn((1, 2, 2, 2)), (1, 1, 32, 32)),
        (modules.cnn_global_pool((1, 2, 2, 2)), (1, 1, 9, 9)),
    ],
)
def test_gradient_by_finite_differences(
    module: nn.Module, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    module = jitter(module, rng)
    x = torch.tensor(rng.normal(size=shape))
    names = [name for name, _ in module.named_parameters()]

    def forward(*parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(forward, list(module.parameters()))


def test_too_few_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="`sizes`"):
        modules.mlp([4])
    for build in WINDOWED.values():
        with pytest.raises(ValueError, match="`num_channels`"):
            build([1])
