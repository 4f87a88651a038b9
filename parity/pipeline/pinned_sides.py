"""The frameworks of a request, pinned: fixed seeds, full precision, and the device that was asked for."""

import contextlib
from collections.abc import Iterator
from typing import Literal

from parity.frameworks.opening import frameworks_of
from parity.numerics.precision import pinned, require_device
from parity.pipeline.candidate import params_of
from parity.pipeline.request import Request


@contextlib.contextmanager
def pinned_for(
    request: Request, *roles: Literal["reference", "candidate"], seed: int | None = None
) -> Iterator[tuple[str, ...]]:
    """Pin the frameworks of the sides that run, and give their names; another framework stays unloaded.

    Args:
        request: with models, device and seed.
        *roles: the sides that run here; none for both.
        seed: of a recording that is continued; None for the request's.

    Raises:
        ValueError: if one of the frameworks cannot use the device, naming it.
    """
    settings = request.settings
    models = {
        "reference": (request.reference, request.weights.reference_params, "PyTorch"),
        "candidate": (request.candidate, params_of(request), "JAX"),
    }
    frameworks = frameworks_of(*(models[role] for role in roles or models))
    with pinned(seed=settings.seed if seed is None else seed, sides=frameworks):
        require_device(settings.device, frameworks)
        yield frameworks
