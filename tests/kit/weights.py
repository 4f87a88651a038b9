"""Random weights for a module, the weights as arrays, and the shapes of a tree of them."""

from typing import Any

import jax
import numpy as np
import torch

Arrays = dict[str, np.ndarray]


def randomise(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Fill every parameter and floating buffer of the state dict with random numbers, in eval mode.

    Biases, scales and running statistics included: at their initial zeros and ones faults hide. They are
    multiples of 2^-12, so that a sum of two (a recurrent layer's biases) is exact in float32.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = [*module.named_parameters(), *module.named_buffers()]
    with torch.no_grad():
        for name, tensor in tensors:
            if not tensor.is_floating_point() or name not in module.state_dict():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            leaf = name.rpartition(".")[2]
            if "var" in leaf:
                noise = 0.5 + noise.abs()
            elif tensor.ndim >= 2:
                noise *= (tensor.shape[0] / tensor.numel()) ** 0.5  # one over the root of the fan-in
            elif "bias" in leaf or "mean" in leaf:
                noise *= 0.3
            else:
                noise = 1 + 0.3 * noise
            tensor.copy_((noise * 4096).round() / 4096)
    return module.eval()


def weights(module: torch.nn.Module) -> Arrays:
    """Parameters and floating buffers by name, as NumPy float32."""
    return {
        name: tensor.detach().numpy().copy()
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point()
    }


def shapes(tree: Any) -> Any:
    """A template: the same pytree, of float32 shapes (from arrays, tensors or tuples of numbers)."""

    def is_shape(leaf: Any) -> bool:
        return isinstance(leaf, tuple) and all(isinstance(size, int) for size in leaf)

    def struct(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf if is_shape(leaf) else np.shape(leaf), np.float32)

    return jax.tree.map(struct, tree, is_leaf=is_shape)
