"""The forward and backward pass of a JAX model: from its leaves and inputs to outputs, loss and gradients.

JAX traces the user's code from here: no line above this file is the place of an equation.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from parity.frameworks.jax.jax_model import JaxModel
from parity.frameworks.jax.trees import flatten
from parity.frameworks.task import LOSS, Task, bind, direction, losses_of, targets_of
from parity.report.errors import by_the_harness, raised_by

Named = Mapping[str, jax.Array]
"""Arrays by name: leaves by path, inputs, outputs."""

Gradients = Callable[[PyTree, jax.Array, jax.Array | Named], PyTree]
"""`gradients(params, x, targets)`, written by hand."""


class Results(NamedTuple):
    """What one run gives.

    Attributes:
        losses: "loss", a scalar, and the parts of it that the loss tells of.
        outputs: by name.
        gradients: of the loss, by path; empty without a backward pass.
    """

    losses: Named
    outputs: Named
    gradients: Named


class Passes(NamedTuple):
    """What to compute of a model.

    Attributes:
        model: the model.
        task: inputs, loss, layout, outputs and device.
        by_hand: gradients instead of `jax.grad` of the loss.
    """

    model: JaxModel
    task: Task
    by_hand: Gradients | None = None

    def returned(self, leaves: Named, given: Named) -> PyTree:
        """What the model itself returns.

        Args:
            leaves: by path.
            given: inputs by name, in the model's layout.
        """
        inputs = {name: given[name] for name in self.task.inputs}
        args, kwargs = bind(self.model.target, self.model.skip, inputs)
        return self.model.call(self.model.tree.build(leaves), *args, **kwargs)

    def forward(self, moved: Named, fixed: Named, given: Named) -> Results:
        """Outputs and loss.

        Args:
            moved: leaves that `both` differentiates by.
            fixed: the other leaves.
            given: inputs and targets by name, in the model's layout.
        """
        return Results(*self._losses_and_outputs(moved, fixed, given), {})

    def both(self, moved: Named, fixed: Named, given: Named) -> Results:
        """Outputs, loss and gradients; without a leaf to differentiate by no gradients.

        Args:
            moved: leaves to differentiate by.
            fixed: the other leaves.
            given: inputs and targets by name, in the model's layout.
        """
        if not moved:
            return self.forward(moved, fixed, given)

        def differentiated(moved: Named) -> tuple[jax.Array, tuple[Named, Named]]:
            losses, outputs = self._losses_and_outputs(moved, fixed, given)
            return losses[LOSS], (losses, outputs)

        (_, (losses, outputs)), grads = jax.value_and_grad(differentiated, has_aux=True)(moved)
        if self.by_hand is not None:
            params = self.model.tree.build({**moved, **fixed})
            by_hand = self.by_hand(params, given[self.task.inputs[0]], targets_of(given, self.task.inputs))
            grads = {path: leaf for path, leaf in flatten(by_hand)[0].items() if path in moved}
        return Results(losses, outputs, {path: _as_of_parts(grad) for path, grad in grads.items()})

    def _losses_and_outputs(self, moved: Named, fixed: Named, given: Named) -> tuple[Named, Named]:
        with raised_by("JAX"):
            return self._computed({**moved, **fixed}, given)

    def _computed(self, leaves: Named, given: Named) -> tuple[Named, Named]:
        out = self.returned(leaves, given)
        outputs = self.task.outputs(out)
        if self.task.loss is not None:
            return losses_of(self.task.loss(out, targets_of(given, self.task.inputs))), outputs
        with by_the_harness("projecting the outputs of the JAX model"):
            return {LOSS: _projected(outputs)}, outputs


def _projected(outputs: Named) -> jax.Array:
    """A fixed random projection of all floating outputs, and of both parts of complex ones."""
    floating = {n: _parts(v) for n, v in outputs.items() if jnp.issubdtype(v.dtype, jnp.inexact)}
    loss = jnp.zeros((), next((v.dtype for v in floating.values()), None))
    for name, value in floating.items():
        loss = loss + (value * jnp.asarray(direction(value.shape, name), value.dtype)).sum()
    return loss


def _parts(value: jax.Array) -> jax.Array:
    """`complex_parts.real_parts` in JAX."""
    return jnp.stack([value.real, value.imag], axis=-1) if jnp.iscomplexobj(value) else value


def _as_of_parts(grad: jax.Array) -> jax.Array:
    """A gradient of JAX's as dL/da + i dL/db of a weight a + i b: JAX gives the conjugate of that.

    Differs: PyTorch gives it so, and so it can be compared, added to the weight, and held against slopes.
    """
    return jnp.conj(grad) if jnp.iscomplexobj(grad) else grad
