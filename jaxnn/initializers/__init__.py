"""How weights are drawn before training: functions ``(key, shape, dtype) -> array``.

The signature is that of ``jax.nn.initializers``, so these serve Flax modules as well. The distributions
are those of ``torch.nn.init``, under its names, for kernels in JAX's layout: ``(in, out)`` and HWIO,
inputs before outputs at the end. `layer_defaults` has what each layer of PyTorch draws by itself. The
factories are cached: equal arguments give the same function, hence the same compiled programs.
"""

from jaxnn.initializers import layer_defaults
from jaxnn.initializers.distributions import (
    Initializer,
    constant,
    normal,
    ones,
    torch_uniform,
    trunc_normal,
    uniform,
    zeros,
)
from jaxnn.initializers.fans import (
    calculate_gain,
    fans,
    kaiming_normal,
    kaiming_uniform,
    xavier_normal,
    xavier_uniform,
)
from jaxnn.initializers.structured import dirac, eye, orthogonal, sparse

__all__ = [
    "Initializer",
    "calculate_gain",
    "constant",
    "dirac",
    "eye",
    "fans",
    "kaiming_normal",
    "kaiming_uniform",
    "layer_defaults",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "torch_uniform",
    "trunc_normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
