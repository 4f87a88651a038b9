"""The transformations that an optax optimiser is made of, and the optimiser without one of them."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import optax

Transformation = Any
"""What has optax's `init` and `update`."""


class Link(NamedTuple):
    """One transformation of a chain.

    Attributes:
        name: of the function that made it.
        transformation: itself.
    """

    name: str
    transformation: Transformation


def links_of(transformation: Transformation) -> list[Link]:
    """The transformations that `optax.chain` put together, chains inside of chains opened.

    optax keeps them in the closures of `init` and `update`; what it does not show there is one link.

    >>> [link.name for link in links_of(optax.lamb(1e-3))]
    ['scale_by_adam', 'add_decayed_weights', 'scale_by_trust_ratio', 'scale']

    Args:
        transformation: of optax, or a function of the user's that follows its form.
    """
    held = _closure(transformation.update)
    if "tx" in held:  # made to take further arguments
        return links_of(held["tx"])
    inits = _closure(transformation.init).get("init_fns")
    if "update_fns" not in held or inits is None:
        return [Link(_maker(transformation.update), transformation)]
    pairs = zip(inits, held["update_fns"], strict=True)
    return [
        link
        for init, update in pairs
        for link in links_of(optax.GradientTransformationExtraArgs(init, update))
    ]


def without_one(transformation: Transformation) -> Iterator[Link]:
    """The optimiser without one of its transformations, under the name of what is left out.

    Args:
        transformation: the optimiser.

    Yields:
        For each link the chain with what it wraps in its place, where it does, and the chain without it.
    """
    links = links_of(transformation)
    for place, (name, link) in enumerate(links):
        before, after = links[:place], links[place + 1 :]
        inner = _inner(link)
        if inner is not None:
            yield _chained(name, [*before, *links_of(inner), *after])
        if before or after:
            yield _chained(name if inner is None else links_of(inner)[0].name, [*before, *after])


def _chained(name: str, links: list[Link]) -> Link:
    return Link(name, optax.chain(*(link.transformation for link in links)))


def _inner(link: Transformation) -> Transformation | None:
    """What a transformation wraps, as `masked` and `MultiSteps` do; None where it wraps nothing."""
    owner = getattr(link.update, "__self__", None)  # `MultiSteps` is a class
    return _closure(link.update).get("inner", getattr(owner, "_opt", None))


def _closure(function: object) -> dict[str, Any]:
    return dict(inspect.getclosurevars(function).nonlocals) if inspect.isfunction(function) else {}


def _maker(update: object) -> str:
    """The name of the function, or the class, that made an `update`."""
    named = str(getattr(update, "__qualname__", type(update).__name__))
    if str(getattr(update, "__module__", "")).startswith("optax"):
        return named.split(".")[0]
    *outer, _ = named.split(".<locals>.")
    return (outer or [named])[-1].split(".")[0]
