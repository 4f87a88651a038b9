"""What a run ran with, for its report: versions, devices and the settings in force."""

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Collection, Iterator

from parity.numerics.precision import SIDES, jax_device
from parity.report.results import Environment

PACKAGES = {"torch": ("torch",), "jax": ("jax", "jaxlib")}
"""What a report always gives the versions of, besides Python and NumPy, by the framework that ran."""


def environment(device: str = "cpu", sides: Collection[str] = SIDES) -> Environment:
    """Versions, devices and the settings in force; call it inside `pinned()`.

    Args:
        device: "cpu" or "cuda".
        sides: the frameworks that run; another is not imported, and has no device here.
    """
    versions = {"python": platform.python_version()} | dict(_versions(sides))
    settings, devices = {}, {}
    if "jax" in sides:
        import jax

        devices["jax"] = jax_device(device).device_kind
        settings["jax matmul precision"] = str(jax.config.jax_default_matmul_precision)  # type: ignore[attr-defined]
    if "torch" in sides:
        import torch

        cpu = f"cpu ({os.cpu_count()} cores)"
        devices["torch"] = torch.cuda.get_device_name() if device == "cuda" else cpu
        settings |= {
            "torch matmul fp32": str(torch.backends.cuda.matmul.fp32_precision),
            "torch conv fp32": str(torch.backends.cudnn.conv.fp32_precision),  # type: ignore[attr-defined]
            "cudnn deterministic": str(torch.backends.cudnn.deterministic),
            "torch threads": str(torch.get_num_threads()),
        }
    settings |= {"machine": platform.machine(), "system": platform.system()}
    named = {SIDES[side]: devices[side] for side in SIDES if side in devices}
    return Environment(versions, named, settings)


def _versions(sides: Collection[str]) -> Iterator[tuple[str, str]]:
    """The frameworks that ran, those of JAX's libraries that the user's program has loaded, and NumPy."""
    always = [name for side, names in PACKAGES.items() if side in sides for name in names]
    for package in always:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield package, importlib.metadata.version(package)
    if "jax" in sides:
        from parity.frameworks.jax.libraries import library_packages

        for package in sorted({*library_packages(), "optax"} & set(sys.modules)):
            yield package, str(getattr(sys.modules[package], "__version__", "of unknown version"))
    yield "numpy", importlib.metadata.version("numpy")
