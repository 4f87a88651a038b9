"""The two sides of a training comparison: programs that train, with optimisers of their own."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.frameworks.model import Program
from parity.numerics.arrays import DTYPES, Arrays
from parity.numerics.noise import Values
from parity.pipeline.measuring import Measured, restricted
from parity.pipeline.reference import Reference
from parity.pipeline.runs import compared_tensors
from parity.pipeline.training_optimizers import Described, Optimizers, names_of
from parity.pipeline.training_runs import TrainingSide

if TYPE_CHECKING:
    import torch

    from parity.frameworks.jax.trees import Tree


def training_sides(
    both: Measured,
    module: "torch.nn.Module",
    given: Optimizers,
    known: Described,
    steps: Sequence[Sequence[Arrays]],
) -> tuple[TrainingSide, TrainingSide]:
    """Both sides with their optimisers: PyTorch's, then JAX's.

    Args:
        both: the two models; the reference is PyTorch's, the candidate JAX's.
        module: the PyTorch model.
        given: the optimisers.
        known: what is known of PyTorch's.
        steps: the batches of each step.
    """
    # Both compute in it: what only one rounds to is a difference, and no noise.
    narrow = narrow_in(both.candidate.dtypes)
    plan, program = both.candidate.plan, both.reference_program
    assert program is not None
    tensors = compared_tensors(plan, both.reference.trainable)
    moved = moved_tensors(both, known.parameters)
    reference = torch_side(both.reference, program, given, names_of(module, given, both.reference.weights))
    reference = reference._replace(narrow=narrow).restricted(tensors, moved)
    unused = never_reached(reference, both.reference.weights, steps)
    return reference, jax_side(both, known, given, unused, module=module)._replace(narrow=narrow)


def narrow_in(dtypes: Iterable[str]) -> str | None:
    """The dtype of mixed precision among those that a model computes in.

    Args:
        dtypes: their names.
    """
    return next((dtype for dtype in dtypes if dtype not in DTYPES), None)


def never_reached(side: TrainingSide, weights: Arrays, steps: Sequence[Sequence[Arrays]]) -> frozenset[str]:
    """The weights on which the loss of no batch depends: PyTorch's optimiser never touches them.

    Args:
        side: PyTorch's.
        weights: its own, by name.
        steps: the batches of each step.
    """
    unused: frozenset[str] | None = None
    for batch in itertools.chain.from_iterable(steps):
        _, unreached = side.program(weights, batch, "float32")
        unused = unreached if unused is None else unused & unreached
        if not unused:
            break
    return unused or frozenset()


def trained_alone(both: Measured, optimised: Iterable[str], batch: Arrays) -> list[str]:
    """Weights that the reference trains, on which its loss depends, and that the candidate does not have.

    Args:
        both: the two models.
        optimised: names of the weights that the reference's optimiser holds.
        batch: of the first step.
    """
    reference, planned = both.reference, set(both.candidate.plan.names())
    model = reference.model
    assert model is not None
    without = [name for name in optimised if name not in planned and name in set(model.trainable)]
    if not without:
        return []
    task = restricted(reference, both.candidate)
    program = model.program(task, trainable=without)
    _, unreached = program.with_unreached(reference.weights, batch, "float32")  # type: ignore[attr-defined]
    return [name for name in without if name not in unreached]


def torch_side(
    reference: Reference, program: Program, given: Optimizers, names: Mapping[int, str]
) -> TrainingSide:
    """PyTorch's side, of all the weights it has; to be restricted to those that the other side has, too.

    Args:
        reference: with its weights.
        program: its program.
        given: its optimiser.
        names: of the optimiser's parameters, by their `id`.
    """
    import torch

    from parity.optimizers.torch_steps import TorchSteps

    clip = given.clip

    def clipped(parameters: list[torch.nn.Parameter]) -> object:
        if callable(clip):
            return clip(parameters)
        return torch.nn.utils.clip_grad_norm_(parameters, float(clip or 0))

    def begin(weights: Arrays, dtype: str) -> TorchSteps:
        return TorchSteps(
            given.torch,
            given.scheduler,
            names,
            {**reference.weights, **weights},
            dtype,
            None if clip is None else clipped,
            given.updates_per_step,
            given.accumulate,
            None if given.average is None else given.average[0],
        )

    return TrainingSide(
        program.with_unreached,  # type: ignore[attr-defined]
        begin,
        lambda weights: {name: np.asarray(weights.get(name, w)) for name, w in reference.weights.items()},
        dict,
        dict,
        lambda optimizer: {"rates": {name: np.asarray(rate) for name, rate in optimizer.rates.items()}},
        lambda optimizer, used: {"clipped": used, "slots": optimizer.slots},
    )


def jax_side(
    both: Measured,
    known: Described,
    given: Optimizers,
    unused: frozenset[str],
    *,
    module: "torch.nn.Module | None" = None,
) -> TrainingSide:
    """JAX's side.

    Args:
        both: the two models; the reference may be recorded.
        known: of PyTorch's optimiser.
        given: the optimisers; PyTorch's is read only where optax's is to be made of it.
        unused: weights of the reference on which the loss of no batch depends.
        module: the PyTorch model, where its optimiser is translated.
    """
    import optax

    from parity.optimizers.optax_slots import slots_of
    from parity.optimizers.optax_steps import OptaxSteps, Step

    reference, candidate = both.reference, both.candidate
    plan, model = candidate.plan, candidate.model
    tensors = compared_tensors(plan, reference.trainable)
    moved = moved_tensors(both, known.parameters)
    own = {t.leaf_path for t in plan.transfers if t.tensor_name in moved}
    used = {t.leaf_path for t in plan.transfers if t.tensor_name in moved - unused}
    tree: Tree = model.tree  # type: ignore[attr-defined]
    trained = tuple(path for path in tree.paths if path in set(model.trainable) & own)
    compiled: dict[str, Step] = {}
    planned = {t.leaf_path for t in plan.transfers}
    kept = {path: np.asarray(candidate.weights[path]) for path in planned}

    def translated() -> Any:
        from parity.optimizers import clip_grad_norm, to_optax

        partial = plan._replace(transfers=tuple(t for t in plan.transfers if t.leaf_path in trained))
        leaves = {path: np.asarray(candidate.weights[path]) for path in trained}
        found = to_optax(
            given.torch,
            _tree_of(tree, leaves),
            partial,
            module=module,
            scheduler=given.scheduler,
            updates_per_step=given.updates_per_step,
        )
        clip = given.clip
        found = optax.chain(clip_grad_norm(float(clip)), found) if isinstance(clip, int | float) else found
        if unused:
            idle = _tree_of(tree, {path: path not in used for path in trained})
            found = optax.chain(found, optax.masked(optax.set_to_zero(), idle))
        if given.accumulate == 1:
            return found
        gathered = optax.MultiSteps(found, given.accumulate)
        return gathered.gradient_transformation()

    transformation = translated() if given.optax is None else given.optax

    def begin(weights: Arrays, dtype: str) -> OptaxSteps:
        started = {**candidate.weights, **weights}
        return OptaxSteps(
            transformation,
            tree,
            trained,
            started,
            dtype,
            compiled,
            is_whole=given.optax is None,
            average=None if given.average is None else given.average[1],
            accumulate=given.accumulate,
        )

    def in_tensors(weights: Arrays) -> Arrays:
        found = plan.to_tensors({**kept, **{path: w for path, w in weights.items() if path in planned}})
        return {name: found[name] for name in sorted(moved)}

    def gradients(grads: Arrays) -> Arrays:
        back = plan.adjoint({path: grad for path, grad in grads.items() if path in planned})
        return {name: grad for name, grad in back.items() if name in tensors}

    def to_own(start: Arrays) -> Arrays:
        leaves = plan.to_leaves({**{n: reference.weights[n] for n in plan.names()}, **start}, exact=True)
        return {path: leaves[path] for path in trained}

    def after(optimizer: OptaxSteps, used: Arrays) -> dict[str, Arrays]:
        del used
        slots, _ = slots_of(optimizer.state, known.kind, plan)
        return {
            "slots": {
                f"{name}.{slot}": np.asarray(value, np.float64)
                for name, held in slots.items()
                for slot, value in held.items()
                if slot != "step" and name in tensors - unused
            }
        }

    program = model.program(candidate.task, trainable=trained)

    def graded(weights: Arrays, batch: Arrays, dtype: str) -> tuple[Values, frozenset[str]]:
        return program(weights, batch, dtype), frozenset()

    return TrainingSide(graded, begin, in_tensors, gradients, to_own, lambda optimizer: {}, after)


def moved_tensors(both: Measured, parameters: frozenset[str]) -> frozenset[str]:
    """The tensors that either side may move: of compared gradients, and parameters frozen in PyTorch.

    Args:
        both: the two models.
        parameters: names of all of the PyTorch model's.
    """
    plan = both.candidate.plan
    trained = set(both.candidate.model.trainable)
    other = {t.tensor_name for t in plan.transfers if t.leaf_path in trained and t.tensor_name in parameters}
    return compared_tensors(plan, both.reference.trainable) | other


def _tree_of(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """The params tree with None where the optimiser sees nothing."""
    return tree.build({path: leaves.get(path) for path in tree.paths})
