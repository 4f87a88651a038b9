"""Precision, seeds and threads of both frameworks: set in one place and restored afterwards.

A difference that comes from TF32 on one side or from a lower matmul precision on the other is not a
porting fault. Every comparison therefore runs inside `pinned()`, and the report says what was in force
(`parity.frameworks.environment`).
"""

import contextlib
import os
import random
import threading
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jax

DEVICES = ("cpu", "cuda")
"""Names accepted for `device`; "cuda" is JAX's "gpu"."""

SIDES = {"torch": "PyTorch", "jax": "JAX"}
"""The two frameworks as they are called in messages; a recording of one side runs without the other."""

_PINNING = threading.RLock()
"""Held inside `pinned`: what it sets belongs to the process, so threads must take turns."""


@contextlib.contextmanager
def pinned(*, seed: int = 0, threads: int | None = None, sides: Collection[str] = SIDES) -> Iterator[None]:
    """Full float32 precision, deterministic kernels and fixed seeds in both frameworks.

    Sets JAX's matmul precision to "highest"; turns TF32 off for PyTorch's matrix products and
    convolutions; makes cuDNN deterministic and stops it from benchmarking; seeds PyTorch, NumPy's
    legacy generator and Python's `random`; optionally sets PyTorch's thread count. Everything is put
    back on exit, also after an exception, the random states included. Threads that come here take turns.

    JAX is kept from reserving most of a shared GPU's memory, which works only before its first use.

    Args:
        seed: seed of the global generators inside the context.
        threads: PyTorch's intra-op threads; None leaves them. XLA's CPU threads are fixed when its
            backend starts and cannot be changed later.
        sides: the frameworks that run; another is not imported.

    Raises:
        ValueError: if `threads` is not positive.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` is {threads}; it must be at least 1, or None to leave it")
    with _PINNING, contextlib.ExitStack() as stack:
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 (saved, not drawn from)
        if "jax" in sides:
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
            import jax

            stack.enter_context(jax.default_matmul_precision("highest"))
        if "torch" in sides:
            stack.enter_context(_pinned_torch(seed, threads))
        try:
            np.random.seed(seed)  # noqa: NPY002 (models under test may draw from it)
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


@contextlib.contextmanager
def _pinned_torch(seed: int, threads: int | None) -> Iterator[None]:
    """PyTorch's switches, generators and threads."""
    import torch

    settings = _torch_settings()
    saved = [getattr(owner, name) for owner, name, _ in settings]
    saved_threads = torch.get_num_threads()
    cuda_devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    # Whatever mode the caller is in, tensors made here can be differentiated.
    with torch.random.fork_rng(devices=cuda_devices), torch.inference_mode(False), torch.enable_grad():
        try:
            for owner, name, value in settings:
                setattr(owner, name, value)
            if threads is not None:
                torch.set_num_threads(threads)
            torch.manual_seed(seed)
            yield
        finally:
            for (owner, name, _), value in zip(settings, saved, strict=True):
                setattr(owner, name, value)
            torch.set_num_threads(saved_threads)


def _torch_settings() -> list[tuple[Any, str, Any]]:
    """(owner, attribute, value while pinned) of PyTorch's global precision switches."""
    import torch

    return [
        (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
        (torch.backends.cudnn.conv, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
        (torch.backends.cudnn.rnn, "fp32_precision", "ieee"),
        (torch.backends.cudnn, "deterministic", True),
        (torch.backends.cudnn, "benchmark", False),
    ]


@contextlib.contextmanager
def running(dtype: str, device: str = "cpu") -> Iterator[None]:
    """JAX's side of one run: 64-bit types on for float64 and off otherwise, arrays on `device`.

    A float32 model is run as its users run it, without x64: with it, constants that JAX would keep in
    float32 become float64 and the model under test would be another one.

    Args:
        dtype: name of the floating dtype of the run.
        device: "cpu" or "cuda".
    """
    import jax

    with jax.enable_x64(dtype == "float64"), jax.default_device(jax_device(device)):
        yield


@contextlib.contextmanager
def running_torch(dtype: str) -> Iterator[None]:
    """PyTorch's side of one run: tensors that a model makes in its forward pass get the run's dtype.

    Args:
        dtype: name of the floating dtype of the run.
    """
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def jax_device(device: str) -> "jax.Device":
    """This process's first JAX device of a kind ("cpu" or "cuda").

    Args:
        device: "cpu" or "cuda".

    Raises:
        ValueError: if the kind is unknown or this machine has none that JAX can see.
    """
    import jax

    if device not in DEVICES:
        raise ValueError(f"`device` is {device!r}; it must be one of {', '.join(DEVICES)}")
    try:
        return jax.local_devices(backend="gpu" if device == "cuda" else device)[0]
    except RuntimeError as error:
        raise ValueError(
            f"`device` is {device!r}, but JAX sees none ({_first_line(error)}); choose another"
        ) from error


def require_device(device: str, sides: Collection[str] = SIDES) -> None:
    """Check that the frameworks that run can use `device`.

    Args:
        device: "cpu" or "cuda".
        sides: the frameworks that run; another is not imported.

    Raises:
        ValueError: if one of them cannot, naming it.
    """
    if device not in DEVICES:
        raise ValueError(f"`device` is {device!r}; it must be one of {', '.join(DEVICES)}")
    if "jax" in sides and (device != "cpu" or os.environ.get("JAX_PLATFORMS")):  # it has a CPU unless told
        jax_device(device)
    if "torch" in sides and device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("`device` is 'cuda', but PyTorch sees no GPU; use device 'cpu'")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
