"""A PyTorch program lifted to float64: requests for narrower dtypes become requests for float64.

float64 decides whether two programs are the same function, but a model in float32 stays one when its weights
are cast: constants and casts are float32 by name. A function mode, which sits above autograd, changes these.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from parity.frameworks.torch.torch_modes import uncompiled
from parity.report.errors import by_the_harness
from parity.trace.rounded_constants import constant

NARROW = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
}

ROUNDED = (torch.float16, torch.bfloat16)
"""Dtypes to which a cast is a rounding of the author's."""

FLOAT32_SOFTPLUS, FLOAT64_SOFTPLUS = 16.0, 40.0
"""Where log(1 + exp(x)) becomes x in each precision."""


def _hardsigmoid(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    return torch.clamp(x + 3, 0, 6) / 6


def _hardswish(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    return x * torch.clamp(x + 3, 0, 6) / 6


def _unscaled(grads: Sequence[torch.Tensor], found_inf: torch.Tensor, inv_scale: torch.Tensor) -> None:
    for grad in grads:
        if not bool(torch.isfinite(grad).all()):
            found_inf.fill_(1.0)
        grad.mul_(inv_scale)


def _next_scale(
    scale: torch.Tensor,
    steps: torch.Tensor,
    found_inf: torch.Tensor,
    grow: float,
    back_off: float,
    every: int,
) -> torch.Tensor:
    good = not bool(found_inf)
    steps.add_(1) if good else steps.zero_()
    if not good or int(steps) == every:
        scale.mul_(grow if good else back_off)
        steps.zero_()
    return scale


EXACT: Mapping[Callable[..., object], Callable[..., object]] = {
    torch.nn.functional.hardsigmoid: _hardsigmoid,
    torch.nn.functional.hardswish: _hardswish,
    torch._amp_foreach_non_finite_check_and_unscale_: _unscaled,
    torch._amp_update_scale_: _next_scale,
}
"""Functions whose kernels hold a constant (1/6) in float32 whatever the dtype, or take float32 alone, by what
they mean."""


class Lift(TorchFunctionMode):
    """Requests for a narrow floating dtype become requests for float64; narrow tensors met are widened."""

    _CASTS: ClassVar = {
        "float": None,
        "half": torch.float16,
        "bfloat16": torch.bfloat16,
        "cfloat": None,
        "chalf": None,
    }

    def __init__(self, *, rounding: bool = False) -> None:
        """A mode.

        Args:
            rounding: whether what is cast below float32 is rounded to that dtype, and stays float64.
        """
        super().__init__()
        self.rounding = rounding

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        name = getattr(func, "__name__", "")
        if name in self._CASTS and func is getattr(torch.Tensor, name, None):
            wide = args[0].to(torch.complex128) if name[0] == "c" else args[0].double()
            return self._rounded(wide, self._CASTS[name])
        if func is torch.nn.functional.rms_norm:
            # The default eps is that of the dtype: of the user's float32, not of the lifted float64.
            bound = dict(
                zip(("input", "normalized_shape", "weight", "eps"), args, strict=False), **(kwargs or {})
            )
            if bound.get("eps") is None:
                args, kwargs = (), {**bound, "eps": torch.finfo(torch.float32).eps}
        if func is torch.nn.functional.softplus:
            # Above the threshold float32 cannot tell softplus from its argument; float64 can.
            bound = dict(zip(("input", "beta", "threshold"), args, strict=False), **(kwargs or {}))
            beta, threshold = bound.get("beta", 1), bound.get("threshold", 20)
            if threshold >= FLOAT32_SOFTPLUS:
                bound = {"input": bound["input"], "beta": beta, "threshold": FLOAT64_SOFTPLUS}
            args, kwargs = (), bound
        if func in EXACT:
            return EXACT[func](*args, **{k: v for k, v in (kwargs or {}).items() if k != "inplace"})
        if name in ("__get__", "__set__") or name.startswith("is_"):
            return func(*args, **(kwargs or {}))
        given = args, dict(kwargs or {})
        asked = [v for v in tree_leaves(given) if isinstance(v, torch.dtype) and v in ROUNDED]
        with by_the_harness("lifting the PyTorch model to float64"):  # inside the model's own forward pass
            args, kwargs = tree_map(self._wider, given)
        out = func(*args, **kwargs)
        return self._rounded(out, asked[0]) if asked else out

    def _rounded(self, value: object, dtype: torch.dtype | None) -> object:
        """A float64 tensor with its numbers rounded to a narrow dtype, where roundings stay."""
        if not self.rounding or dtype is None or not isinstance(value, torch.Tensor):
            return value
        return value.to(dtype).double() if value.dtype == torch.float64 else value

    @staticmethod
    def _wider(value: object) -> object:
        if isinstance(value, torch.dtype):
            return NARROW.get(value, value)
        if isinstance(value, torch.Tensor) and value.dtype in NARROW and not value.requires_grad:
            if type(value) is not torch.Tensor:
                return value.to(NARROW[value.dtype])
            narrow = value.detach() if value.is_complex() else value.detach().float()
            return torch.from_numpy(constant(narrow.numpy(force=True)))
        return value


@contextlib.contextmanager
def lifting(*, rounding: bool = False) -> Iterator[None]:
    """Inside, a PyTorch model computes in float64 whatever dtypes it asks for; limits stay float32's.

    Args:
        rounding: whether values that the model casts to bfloat16 or float16 are rounded to them.
    """
    finfo = torch.finfo
    narrow = {torch.float64: torch.float32}

    class LimitsType(type):
        """A type, not a function: what is imported inside may ask for instances of `torch.finfo`."""

        def __call__(cls, dtype: torch.dtype | None = None) -> torch.finfo:
            return finfo(narrow.get(dtype, dtype) if dtype is not None else torch.float32)

        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, finfo)

    class OfFloat32(metaclass=LimitsType):
        """`torch.finfo`, which gives the limits of float32 for float64."""

    torch.finfo = OfFloat32  # type: ignore[misc,assignment]
    try:
        with uncompiled(), Lift(rounding=rounding):
            yield
    finally:
        torch.finfo = finfo  # type: ignore[misc]
