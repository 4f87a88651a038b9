"""How functions in a narrow dtype are declared: each in several ways that are right, and some not.

What is right rounds where the reference rounds, or a kernel of a framework does it inside. What is not loses
a step in float32 or has one too many, keeps a reduction narrow, casts too early, or lacks a factor; in the
forward pass or in the backward pass alone.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import parity

Tensors = Mapping[str, torch.Tensor]
Params = dict[str, Any]
Port = Callable[[Params, jax.Array], Any]
Cast = Callable[[jax.Array], jax.Array]
F32 = jnp.float32

_dtype: ContextVar[str] = ContextVar("dtype", default="bfloat16")


def narrow() -> Any:
    """The dtype of the run."""
    return jnp.dtype(_dtype.get())


def wide(x: jax.Array) -> jax.Array:
    return x.astype(F32)


def back(x: jax.Array) -> jax.Array:
    return x.astype(narrow())


class Family(NamedTuple):
    """One function of PyTorch with its ports.

    Attributes:
        reference: `f(params, x)`.
        shapes: of the params, which both sides name alike.
        x: shape of the input.
        right: ports that are right, by name.
        wrong: ports that differ by more than one rounding.
    """

    reference: Callable[[Tensors, torch.Tensor], Any]
    shapes: Mapping[str, tuple[int, ...]]
    x: tuple[int, ...]
    right: Mapping[str, Port]
    wrong: Mapping[str, Port]

    def arguments(self, way: str, dtype: str) -> dict[str, Any]:
        """Arguments of `parity.check` for one port.

        Args:
            way: the port's name.
            dtype: in which the weights are stored.
        """
        rng = np.random.default_rng(sum(map(ord, self.reference.__name__)))
        stored = getattr(torch, dtype)
        tensors = {
            key: torch.from_numpy((0.5 * rng.standard_normal(shape)).astype(np.float32)).to(stored)
            for key, shape in self.shapes.items()
        }
        template = {key: jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for key, shape in self.shapes.items()}
        return {
            "reference": self.reference,
            "candidate": {**self.right, **self.wrong}[way],
            "inputs": {"x": rng.standard_normal(self.x).astype(np.float32)},
            "weights": parity.Weights(
                reference_params=tensors, template=template, pins={key: key for key in tensors}
            ),
        }


class Modules(NamedTuple):
    """One module of PyTorch with its ports, which are modules of JAX's libraries.

    Attributes:
        reference: makes the module.
        x: shape of the input.
        right: makers of ports that are right, by name.
        wrong: of ports that differ by more than one rounding.
        layout: of inputs, as in `parity.check`.
    """

    reference: Callable[[], torch.nn.Module]
    x: tuple[int, ...]
    right: Mapping[str, Callable[[], object]]
    wrong: Mapping[str, Callable[[], object]]
    layout: Mapping[str, tuple[int, ...]] | None = None

    def arguments(self, way: str, dtype: str) -> dict[str, Any]:
        """Arguments of `parity.check` for one port.

        Args:
            way: the port's name.
            dtype: in which the weights are stored.
        """
        torch.manual_seed(0)
        module = self.reference().to(getattr(torch, dtype)).eval()
        rng = np.random.default_rng(1)
        with torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                if tensor.is_floating_point():
                    tensor.add_(0.1 * torch.rand(tensor.shape).to(tensor.dtype))
        given: dict[str, Any] = {} if self.layout is None else {"layout": self.layout}
        return {
            "reference": module,
            "candidate": {**self.right, **self.wrong}[way](),
            "inputs": {"x": rng.standard_normal(self.x).astype(np.float32)},
            **given,
        }


class Case(NamedTuple):
    """One port of one family in one dtype."""

    family: str
    way: str
    dtype: str
    right: bool

    @property
    def id(self) -> str:
        """Its name in a test and in the table."""
        return f"{self.family}/{self.way}/{self.dtype}"

    def arguments(self) -> dict[str, Any]:
        """Arguments of `parity.check`."""
        _dtype.set(self.dtype)
        return families()[self.family].arguments(self.way, self.dtype)

    def report(self) -> parity.Report:
        """What the harness says of it."""
        jax.clear_caches()  # what a port casts to is the dtype of the case
        return parity.check(**self.arguments())


def families() -> dict[str, Family | Modules]:
    """All families of every module beside this one, by name."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names if name != "declare"]
    return {name: family for module in modules for name, family in module.FAMILIES.items()}


def cases() -> Iterator[Case]:
    """Every port in bfloat16, and in float16."""
    for dtype in ("bfloat16", "float16"):
        for name, family in families().items():
            yield from (Case(name, way, dtype, True) for way in family.right)
            yield from (Case(name, way, dtype, False) for way in family.wrong)
