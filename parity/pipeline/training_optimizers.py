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
        torch: the optimiser of PyTorch; None where it is recorded.
        optax: the transformation of optax; None to translate PyTorch's, or where only PyTorch's side runs.
        scheduler: of PyTorch, or None.
        updates_per_step: updates for one step of the scheduler.
        clip: the largest norm of all gradients, or what is called with PyTorch's parameters before a step, or
            None.
        accumulate: batches whose gradients are averaged for one update.
        average: of the weights: PyTorch's, and JAX's; or None.
    """

    torch: Any
    optax: Any
    scheduler: Any
    updates_per_step: int
    clip: float | Callable[[list[Any]], object] | None
    accumulate: int = 1
    average: "tuple[AveragedModel | None, Averaging | None] | None" = None


class Described(NamedTuple):
    """What is known of PyTorch's optimiser in plain numbers and names: it can be written to a file.

    Attributes:
        kind: the name of its class, as in `parity.optimizers.known.RULES`.
        options: hyperparameters of each tensor.
        defaults: those of every known optimiser of which nothing is said.
        parameters: names of all parameters of the module.
        limit: the norm to which it clips all gradients, where it does just that.
        accumulate: batches whose gradients are averaged for one update.
        follows_loss: whether its scheduler follows the loss.
        clips: whether it clips gradients, to a norm or by a function of the user's.
    """

    kind: str
    options: Mapping[str, Mapping[str, Any]]
    defaults: Mapping[str, Mapping[str, Any]]
    parameters: frozenset[str]
    limit: float | None = None
    accumulate: int = 1
    follows_loss: bool = False
    clips: bool = False


def described(given: Optimizers, module: "torch.nn.Module", names: Mapping[int, str]) -> Described:
    """Read what is known of PyTorch's optimiser.

    Args:
        given: the optimisers.
        module: the PyTorch model.
        names: of the optimiser's parameters, by their `id`.
    """
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    from parity.optimizers.groups import defaults_of, name_of, plain_options
    from parity.optimizers.known import RULES

    options = {
        names[id(p)]: {**plain_options(group), **{k: group[k] for k in ("initial_lr",) if k in group}}
        for group in given.torch.param_groups
        for p in group["params"]
    }
    known = {name: defaults_of(name) for name in RULES}
    return Described(
        name_of(type(given.torch)),
        options,
        {name: defaults for name, defaults in known.items() if defaults is not None},
        frozenset(name for name, _ in module.named_parameters(remove_duplicate=False)),
        limit=float(given.clip) if isinstance(given.clip, int | float) else None,
        accumulate=given.accumulate,
        follows_loss=isinstance(given.scheduler, ReduceLROnPlateau),
        clips=given.clip is not None,
    )


def require_pair(reference: object, loss: object, optimizer: object) -> None:
    """Check that there is a PyTorch module, a loss and an optimiser.

    Args:
        reference: of `parity.check_training`.
        loss: likewise.
        optimizer: likewise.

    Raises:
        TypeError: naming what is missing.
    """
    import torch

    if not isinstance(reference, torch.nn.Module):
        raise TypeError(
            f"the reference is of type {type(reference).__name__}; to compare the training of two models it "
            "must be a torch.nn.Module, and the candidate a JAX model. Two programs that train themselves "
            "are given as `parity.Subject`s"
        )
    if loss is None:
        raise TypeError("`loss` is missing: give (PyTorch's loss, JAX's loss), each of (outputs, targets)")
    if optimizer is None:
        raise TypeError(
            "`optimizer` is missing: give a torch.optim optimiser, alone or in a pair with an optax "
            "transformation"
        )


def read_optimizers(given: Mapping[str, Any], module: "torch.nn.Module") -> Optimizers:
    """Read the arguments of `parity.check_training` that speak of optimisers, for both sides.

    Args:
        given: `optimizer`, `scheduler`, `updates_per_step`, `clip`, `accumulate` and `average`.
        module: the PyTorch model.

    Raises:
        TypeError: naming the argument that cannot be used.
    """
    own = read_reference_optimizers(given, module)
    _, second = _pair(given.get("optimizer"))
    if second is not None:
        _require_optax(second, "ends with")
    elif callable(own.clip):
        raise TypeError(
            "`clip` is a function, which cannot be translated: give the largest norm, or a pair as "
            "`optimizer`, with clipping in the optax transformation"
        )
    if own.average is None:
        return own._replace(optax=second)
    return own._replace(optax=second, average=(own.average[0], _jax_average(given["average"])))


def read_reference_optimizers(given: Mapping[str, Any], module: "torch.nn.Module") -> Optimizers:
    """Read what they say of PyTorch's side alone.

    Args:
        given: as in `read_optimizers`.
        module: the PyTorch model.

    Raises:
        TypeError: naming the argument that cannot be used.
    """
    import torch

    first, _ = _pair(given.get("optimizer"))
    if not isinstance(first, torch.optim.Optimizer) and callable(first) and not hasattr(first, "init"):
        first = first(list(module.parameters()))
    if not isinstance(first, torch.optim.Optimizer):
        raise TypeError(
            f"`optimizer` begins with a {type(first).__name__}; it must be a torch.optim optimiser over the "
            "module's parameters, or a function of the parameters that makes one; alone, or in a pair with "
            "the optax transformation of the JAX side"
        )
    scheduler, clip = given.get("scheduler"), given.get("clip")
    if scheduler is not None and not hasattr(scheduler, "optimizer") and callable(scheduler):
        scheduler = scheduler(first)
    if scheduler is not None and getattr(scheduler, "optimizer", None) is not first:
        raise TypeError(
            "`scheduler` must be one of `torch.optim.lr_scheduler` over the optimiser given, or a function "
            "of the optimiser that makes one"
        )
    if clip is not None and not callable(clip) and not isinstance(clip, int | float):
        raise TypeError(
            f"`clip` is a {type(clip).__name__}; it must be the largest norm, or a function that is called "
            "with PyTorch's parameters between backward pass and step"
        )
    average = given.get("average")
    averages = None if average is None else (_torch_average(average, module), None)
    updates, accumulate = given.get("updates_per_step", 1), given.get("accumulate", 1)
    return Optimizers(first, None, scheduler, updates, clip, accumulate, averages)


def read_candidate_optimizers(given: Mapping[str, Any], accumulate: int, *, averages: bool) -> Optimizers:
    """Read what they say of JAX's side alone, where the reference is recorded.

    Args:
        given: `optimizer`, (None, optax's) or optax's; and `average`, likewise.
        accumulate: batches of one step, of the reference.
        averages: whether the reference averages its weights.

    Raises:
        TypeError: naming the argument that is missing or cannot be used.
    """
    first, second = _pair(given.get("optimizer"))
    transformation = first if second is None else second
    if transformation is None:
        raise TypeError(
            "`optimizer` is missing: give (None, the optax transformation); PyTorch's, which is recorded, is "
            "translated only where both models are in one process"
        )
    _require_optax(transformation, "is")
    average = given.get("average")
    if averages != (average is not None):
        raise TypeError(
            "the reference was recorded with an `average` of its weights: give the candidate's as "
            "average=(None, function)"
            if averages
            else "the reference was recorded without `average`: leave it out here, or record it with one"
        )
    held = None if average is None else (None, _jax_average(average))
    return Optimizers(None, transformation, None, 1, None, accumulate, held)


def _pair(given: object) -> tuple[Any, Any]:
    """Two things given as a pair; of one alone the second is None."""
    if isinstance(given, tuple | list) and not hasattr(given, "init") and len(given) == 2:
        return given[0], given[1]
    return given, None


def _require_optax(transformation: object, where: str) -> None:
    if not (hasattr(transformation, "init") and hasattr(transformation, "update")):
        raise TypeError(
            f"`optimizer` {where} a {type(transformation).__name__}; it must be an optax transformation "
            "(with `init` and `update`); leave it out to have PyTorch's translated"
        )


def _torch_average(average: object, module: "torch.nn.Module") -> "AveragedModel":
    """PyTorch's average of the weights: an `AveragedModel`, or of a decay; alone, or the first of a pair.

    Raises:
        TypeError: if it is none of these.
        ValueError: if a decay is outside of [0, 1], or the `AveragedModel` has averaged already.
    """
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from parity.optimizers.averaging import average_weights

    first, _ = _pair(average)
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
    return first


def _jax_average(average: object) -> "Averaging":
    """JAX's average of the weights: a decay, an `Averaging`, or a function; alone, or the second of a pair.

    Raises:
        TypeError: if it is an `AveragedModel` alone, or nothing that can be called.
        ValueError: if a decay is outside of [0, 1].
    """
    from parity.optimizers.averaging import average_weights, averaging_of

    first, second = _pair(average)
    chosen = first if second is None else second
    if type(chosen).__name__ == "AveragedModel":
        raise TypeError(
            "`average` is an AveragedModel alone, whose rule cannot be read: give (AveragedModel, JAX's "
            "function (average, params) -> average), or the decay of an exponential average"
        )
    return average_weights(float(chosen)) if isinstance(chosen, int | float) else averaging_of(chosen)


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
