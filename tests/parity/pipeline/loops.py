"""A small network on both sides, and batches, for loops of users' own."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import torch


def drawn(count: int = 5) -> list[dict[str, np.ndarray]]:
    """Batches of eight samples.

    Args:
        count: how many.
    """
    rng = np.random.default_rng(0)
    return [
        {"x": rng.standard_normal((8, 4)).astype("f"), "y": rng.standard_normal((8, 3)).astype("f")}
        for _ in range(count)
    ]


def network(seed: int = 0, sizes: tuple[int, int, int] = (4, 6, 3)) -> torch.nn.Sequential:
    """Two layers with a tanh between them.

    Args:
        seed: of its weights.
        sizes: of inputs, hidden values and outputs.
    """
    torch.manual_seed(seed)
    first, second, third = sizes
    return torch.nn.Sequential(
        torch.nn.Linear(first, second), torch.nn.Tanh(), torch.nn.Linear(second, third)
    )


def as_params(net: torch.nn.Sequential) -> dict[str, dict[str, Any]]:
    """The weights of such a network as params of `forward`.

    Args:
        net: the network.
    """

    def dense(layer: Any) -> dict[str, Any]:
        kernel, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
        return {"kernel": jnp.array(kernel), "bias": jnp.array(bias)}

    return {"hidden": dense(net[0]), "head": dense(net[2])}


def forward(params: Any, x: Any) -> Any:
    """The network in JAX.

    Args:
        params: of its two layers.
        x: inputs of shape (samples, inputs).
    """
    hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return hidden @ params["head"]["kernel"] + params["head"]["bias"]


def mse(outputs: Any, targets: Any) -> Any:
    """The mean of the squared differences, in both frameworks.

    Args:
        outputs: of a network.
        targets: of the same shape.
    """
    return ((outputs - targets) ** 2).mean()
