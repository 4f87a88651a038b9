"""What jaxprs are made of: open and closed ones, and the shapes and dtypes of their variables."""

from collections.abc import Sequence
from typing import TypeGuard

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var
from jax.typing import ArrayLike

AnyJaxpr = Jaxpr | ClosedJaxpr
"""Open, or closed over its constants."""


def is_jaxpr(value: object) -> TypeGuard[AnyJaxpr]:
    """Whether a value is a jaxpr.

    Args:
        value: a parameter of an equation.
    """
    return isinstance(value, Jaxpr | ClosedJaxpr)


def body_of(jaxpr: AnyJaxpr) -> Jaxpr:
    """The open jaxpr.

    Args:
        jaxpr: open or closed.
    """
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr


def consts_of(jaxpr: AnyJaxpr) -> Sequence[ArrayLike]:
    """The constants that a jaxpr is closed over; none of an open one.

    Args:
        jaxpr: open or closed.
    """
    return jaxpr.consts if isinstance(jaxpr, ClosedJaxpr) else ()


def shape_of(atom: Var | Literal) -> tuple[int, ...]:
    """The shape of a variable; () of what has none, such as a token.

    Args:
        atom: a variable or literal of a jaxpr.
    """
    return tuple(getattr(atom.aval, "shape", ()))


def dtype_name(atom: Var | Literal) -> str:
    """The name of a variable's dtype; "" of what has none, such as a token.

    Args:
        atom: a variable or literal of a jaxpr.
    """
    return str(getattr(atom.aval, "dtype", ""))
