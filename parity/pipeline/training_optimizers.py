"""The optimisers of a training comparison, as the user gave them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch.optim.swa_utils import AveragedModel

    from parity.optimizers.averaging import Averaging


class Optimizers(NamedTuple):
    """What the user said of both optimisers.

    Attributes:
        torch: the optimiser of PyTorch.
        optax: the transformation of optax; None to translate PyTorch's.
        scheduler: of PyTorch, or None.
        updates_per_step: updates for one step of the scheduler.
        clip: the largest norm of all gradients, or what is called with PyTorch's parameters before a step, or
            None.
        accumulate: batches whose gradients are averaged for one update.
        average: of the weights: PyTorch's, and JAX's; or None.
    """

    torch: "torch.optim.Optimizer"
    optax: Any
    scheduler: Any
    updates_per_step: int
    clip: float | Callable[[list[Any]], object] | None
    accumulate: int = 1
    average: "tuple[AveragedModel, Averaging] | None" = None


def read_optimizers(
    optimizer: object,
    module: "torch.nn.Module",
    scheduler: object,
    updates_per_step: int,
    clip: object,
    accumulate: int = 1,
    average: object = None,
) -> Optimizers:
    """Read the arguments of `parity.check_training` that speak of optimisers.

    Args:
        optimizer: PyTorch's, or a function of the parameters that makes it; or a pair of it and optax's.
        module: the PyTorch model.
        scheduler: PyTorch's, or a function of the optimiser that makes it.
        updates_per_step: updates for one step of the scheduler.
        clip: as in `Optimizers`.
        accumulate: likewise.
        average: as in `read_average`.

    Raises:
        TypeError: naming the argument that cannot be used.
    """
    import torch

    first, second = (
        optimizer if isinstance(optimizer, tuple | list) and len(optimizer) == 2 else (optimizer, None)
    )
    if not isinstance(first, torch.optim.Optimizer) and callable(first) and not hasattr(first, "init"):
        first = first(list(module.parameters()))
    if not isinstance(first, torch.optim.Optimizer):
        raise TypeError(
            f"`optimizer` begins with a {type(first).__name__}; it must be a torch.optim optimiser over the "
            "module's parameters, or a function of the parameters that makes one; alone, or in a pair with "
            "the optax transformation of the JAX side"
        )
    if second is not None and not (hasattr(second, "init") and hasattr(second, "update")):
        raise TypeError(
            f"`optimizer` ends with a {type(second).__name__}; it must be an optax transformation (with "
            "`init` and `update`); leave it out to have PyTorch's translated"
        )
    if scheduler is not None and not hasattr(scheduler, "optimizer") and callable(scheduler):
        scheduler = scheduler(first)
    if scheduler is not None and getattr(scheduler, "optimizer", None) is not first:
        raise TypeError(
            "`scheduler` must be one of `torch.optim.lr_scheduler` over the optimiser given, or a function "
            "of the optimiser that makes one"
        )
    if callable(clip) and second is None:
        raise TypeError(
            "`clip` is a function, which cannot be translated: give the largest norm, or a pair as "
            "`optimizer`, with clipping in the optax transformation"
        )
    if clip is not None and not callable(clip) and not isinstance(clip, int | float):
        raise TypeError(
            f"`clip` is a {type(clip).__name__}; it must be the largest norm, or a function that is called "
            "with PyTorch's parameters between backward pass and step"
        )
    averages = None if average is None else read_average(average, module)
    return Optimizers(first, second, scheduler, updates_per_step, clip, accumulate, averages)


def read_average(average: object, module: "torch.nn.Module") -> "tuple[AveragedModel, Averaging]":
    """Read the argument of `parity.check_training` that speaks of averaged weights.

    Args:
        average: the decay of an exponential average that both sides keep; or a pair of PyTorch's
            `AveragedModel` (or a decay) and JAX's: a decay, a `parity.optimizers.Averaging`, or a function
            (average, params) -> average, or (average, params, num_averaged) -> average.
        module: the PyTorch model.

    Raises:
        TypeError: if it is none of these.
        ValueError: if a decay is outside of [0, 1], or the `AveragedModel` has averaged already.
    """
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from parity.optimizers.averaging import average_weights, averaging_of

    pair = average if isinstance(average, tuple | list) and len(average) == 2 else (average, average)
    first, second = pair
    if isinstance(first, int | float):
        average_weights(float(first))  # it complains about a decay outside of [0, 1]
        first = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(float(first)))
    if not isinstance(first, AveragedModel):
        raise TypeError(
            f"`average` begins with a {type(first).__name__}; it must be a torch.optim.swa_utils."
            "AveragedModel, or the decay of an exponential average"
        )
    if int(first.n_averaged):
        raise ValueError("`average` has averaged weights already: give a new AveragedModel")
    if isinstance(second, AveragedModel):
        raise TypeError(
            "`average` is an AveragedModel alone, whose rule cannot be read: give (AveragedModel, JAX's "
            "function (average, params) -> average), or the decay of an exponential average"
        )
    if isinstance(second, int | float):
        return first, average_weights(float(second))
    return first, averaging_of(second)


def names_of(module: "torch.nn.Module", given: Optimizers, known: Mapping[str, object]) -> dict[int, str]:
    """The model's name of each parameter of the optimiser, by its `id`.

    Args:
        module: the PyTorch model.
        given: the optimisers.
        known: what has a name; of a parameter with several the first of these is taken.

    Raises:
        ValueError: if the optimiser holds parameters that are not the module's.
    """
    found: dict[int, str] = {}
    for name, p in module.named_parameters(remove_duplicate=False):
        if id(p) not in found or found[id(p)] not in known:
            found[id(p)] = name
    held = [p for group in given.torch.param_groups for p in group["params"]]
    strangers = [tuple(p.shape) for p in held if id(p) not in found]
    if strangers:
        raise ValueError(
            f"`optimizer` holds {len(strangers)} parameters that the module does not have (shapes "
            f"{', '.join(map(str, strangers[:4]))}): build it over the parameters of the module"
        )
    return {id(p): found[id(p)] for p in held}
