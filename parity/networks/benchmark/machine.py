"""What a machine can do at most, measured: bytes copied and operations of a matrix product per second."""

import time
from collections.abc import Callable
from typing import NamedTuple

from parity.numerics.precision import jax_device

COPIED = 2**26
"""Entries of the array that is copied: 256 MiB in float32, far more than any cache."""

SIDE = 2048
"""Rows and columns of the matrices that are multiplied."""

REPEATS = 15


class Machine(NamedTuple):
    """The two limits of a device.

    Attributes:
        device: "cpu" or "cuda".
        bandwidth: bytes per second of a copy in memory, read and written ones counted.
        rate: operations per second of a float32 matrix product, two per multiply and add.
    """

    device: str
    bandwidth: float
    rate: float

    def limit(self, num_bytes: float, operations: float) -> "Limit":
        """The least time that work can take here.

        Args:
            num_bytes: bytes to be read and written.
            operations: floating-point operations, two per multiply and add.

        >>> Machine("cpu", bandwidth=100.0, rate=10.0).limit(num_bytes=50.0, operations=20.0)
        Limit(memory=0.5, compute=2.0)
        """
        return Limit(num_bytes / self.bandwidth, operations / self.rate)


class Limit(NamedTuple):
    """The least time of some work, in seconds.

    Attributes:
        memory: for its bytes.
        compute: for its operations.
    """

    memory: float
    compute: float

    @property
    def seconds(self) -> float:
        """The longer of the two."""
        return max(self)

    @property
    def set_by(self) -> str:
        """Which of the two it is: "memory" or "compute"."""
        return "memory" if self.memory >= self.compute else "compute"


def measure_machine(device: str = "cpu") -> Machine:
    """Measure a device with both frameworks, a CPU with NumPy, too, and take the best figure of each.

    Args:
        device: "cpu" or "cuda".

    Returns:
        The limits of the device.
    """
    import jax
    import jax.numpy as jnp
    import torch

    place = jax_device(device)
    source, target = (torch.ones(COPIED, device=device) for _ in range(2))
    array = jax.device_put(jnp.ones(COPIED), place)
    copy = jax.jit(lambda x: x + 1)
    a, b = (torch.rand(SIDE, SIDE, device=device) for _ in range(2))
    left, right = (jax.device_put(jnp.asarray(m.cpu().numpy()), place) for m in (a, b))
    product = jax.jit(jnp.matmul)

    def synchronised(run: Callable[[], object]) -> Callable[[], None]:
        def go() -> None:
            run()
            if device == "cuda":
                torch.cuda.synchronize()

        return go

    copies = [synchronised(lambda: target.copy_(source)), lambda: copy(array).block_until_ready()]
    products = [synchronised(lambda: a @ b), lambda: product(left, right).block_until_ready()]
    if device == "cpu":  # the one with a matrix product of its own
        x, y = a.numpy(), b.numpy()
        products.append(lambda: x @ y)
    return Machine(device, 2 * 4 * COPIED / min(map(_best, copies)), 2 * SIDE**3 / min(map(_best, products)))


def _best(run: Callable[[], object]) -> float:
    """The least time of several: what the machine can do at most, not what it does on average."""
    run()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)
