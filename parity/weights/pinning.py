"""What the user knows of the plan, in one line a tensor."""

import math
from collections.abc import Sequence
from typing import cast

from parity.weights.evidence import Known, Pin, Pins
from parity.weights.layer_kinds import KEPT
from parity.weights.layouts import Layout
from parity.weights.names import role
from parity.weights.pricing import Pricing
from parity.weights.transfer import Transfer, WeightError
from parity.weights.units import Slot


def pinned_transfers(
    pins: Pins, tensors: Known, leaves: Known, pricing: Pricing, what: tuple[str, str]
) -> dict[str, list[Transfer]]:
    """The transfers that the user gave.

    Args:
        pins: what the user gave.
        tensors: all tensors by name.
        leaves: all leaves by path.
        pricing: which layout is usual, where the user gives none.
        what: what a tensor and a leaf are called.

    Returns:
        Transfers by name of their tensor.

    Raises:
        WeightError: if a pin names what does not exist, cannot fit, or fills a leaf that another one fills.
    """
    transfers = {
        name: [_transfer(name, one, tensors, leaves, pricing) for one in _several(pin)]
        for name, pin in pins.items()
    }
    whole = [t.leaf_path for own in transfers.values() for t in own if not t.put]
    if len(set(whole)) < len(whole):
        raise WeightError(f"`pins` uses a {what[1]} twice: {', '.join(sorted(whole))}")
    return transfers


def turned_round(pins: Pins) -> dict[str, Pin] | None:
    """The same pins from leaves to tensors.

    >>> turned_round({"w": ("kernel", (2, 0, 1)), "b": "bias"})
    {'kernel': ('w', (1, 2, 0)), 'bias': 'b'}

    Args:
        pins: pins from tensors to leaves.

    Returns:
        Pins from leaves to tensors; None if a pin is a block or shares its leaf, which has no such way back.
    """
    turned: dict[str, Pin] = {}
    for name, pin in pins.items():
        for one in _several(pin):
            path, axes = (one, None) if isinstance(one, str) else (one[0], one[1])
            if isinstance(one, Transfer) or path in turned:
                return None
            back = name if axes is None else (name, tuple(sorted(range(len(axes)), key=axes.__getitem__)))
            turned[path] = back
    return turned


def _several(pin: Pin | Sequence[Pin]) -> list[Pin]:
    """One pin as a list of them: a Transfer and a (path, axes) are tuples that are single pins."""
    if isinstance(pin, str | Transfer) or (isinstance(pin, tuple) and pin and isinstance(pin[0], str)):
        return [pin]
    return list(cast("Sequence[Pin]", pin))


def _transfer(name: str, pin: Pin, tensors: Known, leaves: Known, pricing: Pricing) -> Transfer:
    if isinstance(pin, Transfer):
        path, axes = pin.leaf_path, None
    else:
        path, axes = (pin, None) if isinstance(pin, str) else pin
    _require_known(name, tensors)
    _require_known(path, leaves)
    tensor, leaf = tensors[name], leaves[path]
    if isinstance(pin, Transfer):
        return _checked(name, pin, tensors, leaves)
    way = Layout(None, tuple(range(len(tensor.shape))) if axes is None else tuple(axes), (), "", 0.0)
    if axes is None:
        unit = Slot(name, name, (), tensor.shape, tensor.layer, role(name), tensor.use).as_unit()
        slot = Slot(path, path, (), leaf.shape, leaf.layer, role(path), leaf.use)
        way = _usual(pricing.ways(unit, slot), way, bare=not tensor.layer)
    rank = len(tensor.shape if way.view is None else way.view)
    if sorted(way.axes) != list(range(rank)) or math.prod(tensor.shape) != math.prod(leaf.shape):
        raise WeightError(
            f"`pins` takes {name!r} {tensor.shape} to {path!r} {leaf.shape} by {way.axes}, which cannot fit"
        )
    return Transfer(name, path, tensor.shape, leaf.shape, way.view, (), way.axes, way.flip, (), "pinned")


def _usual(ways: Sequence[Layout], plain: Layout, *, bare: bool) -> Layout:
    """The layout of a pin that names the leaf alone: a bare tensor keeps its axes where that is as likely."""
    if not ways:
        return plain
    kept = next((way for way in ways if (way.view, way.axes, way.flip) == (None, plain.axes, ())), None)
    return kept if bare and kept is not None and kept.cost <= ways[0].cost + KEPT else ways[0]


def _checked(name: str, pin: Transfer, tensors: Known, leaves: Known) -> Transfer:
    tensor, leaf = tensors[name], leaves[pin.leaf_path]
    try:
        moved, target = pin.shapes()
        fits = math.prod(moved) == math.prod(target)
    except (ValueError, IndexError) as error:
        raise WeightError(f"`pins` has a Transfer of {name!r} that cannot be made: {error}") from error
    if (
        pin.tensor_name != name
        or (pin.tensor_shape, pin.leaf_shape) != (tensor.shape, leaf.shape)
        or not fits
    ):
        raise WeightError(
            f"`pins` takes {name!r} {tensor.shape} to {pin.leaf_path!r} {leaf.shape} by a Transfer of "
            f"{pin.tensor_name!r} {pin.tensor_shape} to {pin.leaf_shape}, block {moved} to {target}, which "
            "cannot fit"
        )
    return pin._replace(reason="pinned")


def _require_known(name: str, known: Known) -> None:
    if name not in known:
        raise WeightError(f"`pins` names {name!r}, which does not exist; there are {', '.join(known)}")
