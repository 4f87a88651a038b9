"""PyTorch models as programs of named arrays."""

import contextlib
import itertools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from parity.frameworks.model import Census, stored_narrow, weight_dtype
from parity.frameworks.task import LOSS, Task, bind, direction, losses_of, targets_of
from parity.frameworks.torch.torch_model import TorchModel
from parity.frameworks.torch.torch_modes import uncompiled
from parity.frameworks.uses import torch_uses
from parity.numerics.arrays import Arrays, is_float, to_numpy, to_torch
from parity.numerics.draws import Draw
from parity.numerics.noise import Values
from parity.numerics.precision import running_torch
from parity.numerics.unread import UnreadArrays, overlaid
from parity.report.errors import raised_by
from parity.trace.computed_constants import Constants, computed_in
from parity.trace.graph import NodeKind, Spot, Trace
from parity.trace.kept_values import Keep, of_constants
from parity.trace.rounded_constants import collecting, constant, knowing
from parity.trace.rounded_uses import carried_over, narrower, rounded_in
from parity.weights import Use

if TYPE_CHECKING:
    import torch

    from parity.frameworks.torch.torch_trace import Recorder

Tensors = Mapping[str, "torch.Tensor"]
"""Weights, inputs or outputs by name."""


class TorchProgram:
    """Outputs, loss and gradients of a PyTorch model: the groups "outputs", "loss" and "gradients".

    In float64 the model is lifted: float32 that it asks for by name becomes float64, and what `torch.compile`
    compiled runs as it was written, since requests made in compiled code cannot be seen.
    """

    undifferentiable: str | None = None

    def __init__(self, model: TorchModel, task: Task, *, trainable: Collection[str] = ()) -> None:
        """A program of `model`.

        Args:
            model: the PyTorch side.
            task: inputs, loss, layout, outputs and device.
            trainable: names of the tensors to differentiate by; without any only the forward pass runs.
        """
        self.model, self.task = model, task
        self.trainable = tuple(name for name in model.weights if name in set(trainable))

    def __call__(self, weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        """Run once; `weights` by name, the model's own where one is not given."""
        values, _ = self.with_unreached(weights, inputs, dtype)
        return values

    def with_unreached(self, weights: Arrays, inputs: Arrays, dtype: str) -> tuple[Values, frozenset[str]]:
        """Run once, and tell of which tensors the loss does not depend at all.

        Differs: PyTorch has no gradient (None) of these, and an optimiser skips them; JAX's is zero, and
        weight decay and momentum go on.

        Args:
            weights: by name, the model's own where one is not given.
            inputs: named arrays.
            dtype: name of the floating dtype to run in.

        Returns:
            What a call returns, and the names of the tensors.
        """
        with knowing(self.task.numbers, self.task.settled):
            own, given = self._tensors(weights, inputs, dtype)
            with _lifted(dtype, self.task.rounding):
                outputs, losses, grads = self._run(own, given, dtype)
        unreached = frozenset(name for name, grad in grads.items() if grad is None)
        values: Values = {
            "outputs": {name: to_numpy(value) for name, value in outputs.items()},
            "loss": {name: to_numpy(value) for name, value in losses.items()},
            "gradients": {
                name: np.zeros(own[name].shape) if grad is None else _to_numpy(grad)
                for name, grad in grads.items()
            },
        }
        return values, unreached

    def returned(self, weights: Arrays, inputs: Arrays) -> object:
        """What the model itself returns, in float32 and as it stands: nothing is lifted.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
        """
        return self._forward(weights, inputs, "float32")

    def output_dtypes(
        self, weights: Arrays, inputs: Arrays, dtype: str
    ) -> dict[str, tuple[str, Spot | None]]:
        """The dtypes of the outputs of a run in `dtype`; where one became wider is not known.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
            dtype: the dtype that weights and inputs are converted to first.
        """
        outputs = self.task.outputs(self._forward(weights, inputs, dtype))
        return {name: (str(value.dtype).removeprefix("torch."), None) for name, value in outputs.items()}

    def reached(self, weights: Arrays, inputs: Arrays) -> int:
        """How many operations the model runs before it returns, or raises.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
        """
        from parity.frameworks.torch.torch_census import Counter

        counter = Counter([])
        with uncompiled(), counter, contextlib.suppress(Exception):
            self._forward(weights, inputs, "float32")
        return counter.count

    def census(self, weights: Arrays, inputs: Arrays) -> Census:
        """Narrow dtypes and random numbers that a run in float32 meets.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
        """
        from parity.frameworks.torch.torch_census import Counter
        from parity.frameworks.torch.torch_places import module_stack

        with uncompiled(), module_stack(self.model.module) as stack, Counter(stack) as counter:
            self._forward(weights, inputs, "float32")
        computed = frozenset(counter.computed) | stored_narrow(self.model.dtypes)
        return Census(counter.narrow, counter.random, computed)

    def draws(self, weights: Arrays, inputs: Arrays) -> tuple[Draw, ...]:
        """The random numbers that the model draws, in order.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
        """
        from parity.frameworks.torch.torch_draws import SharedDraws
        from parity.frameworks.torch.torch_places import module_stack

        alone = TorchProgram(self.model, self.task._replace(shares=None))
        with uncompiled(), module_stack(self.model.module) as stack, SharedDraws((), stack) as mode:
            alone._forward(weights, inputs, "float64")
        return tuple(mode.noted)

    def require_repeatable(self, weights: Arrays, inputs: Arrays, census: Census) -> None:
        """Check that two runs give the same.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
            census: what `census` returned.

        Raises:
            ValueError: if they differ, naming the output, the reason and what to do.
        """
        from parity.frameworks.torch.torch_census import require_repeatable

        drawn = census.random if self.task.shares is None else {}  # what is shared repeats itself
        require_repeatable(lambda: self._forward(weights, inputs, "float64"), self.model.state, drawn)

    def constants(self, weights: Arrays, inputs: Arrays, trace: Trace | None = None) -> Constants:
        """The float32 constants of a lifted run, and what it computes from constants alone.

        Args:
            weights: tensors by name.
            inputs: arrays by name, in the reference's layout.
            trace: a trace of these weights and inputs; None runs the model for one.
        """
        with collecting() as own:
            TorchProgram(self.model, self.task)(weights, inputs, "float64")
        trace = self.trace(weights, inputs, False) if trace is None else trace
        return Constants(own, computed_in(trace))

    def uses(self, weights: Arrays, inputs: Arrays, trace: Trace | None = None) -> Mapping[str, Use]:
        """The first use of each tensor.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
            trace: a trace of these weights and inputs; None runs the model for one.
        """
        return torch_uses(self.trace(weights, inputs, False) if trace is None else trace)

    def trace(
        self,
        weights: Arrays,
        inputs: Arrays,
        backward: bool = True,
        *,
        replayable: bool = False,
        rounded: str | None = None,
        keep: Keep | None = None,
        dtype: str = "float64",
    ) -> Trace:
        """Run once in float64 and keep every value, or of each what `keep` makes of it.

        Args:
            weights: tensors by name.
            inputs: inputs by name, in the reference's layout.
            backward: whether to record the gradients, too.
            replayable: whether to record in LAX's terms and with evaluations, as a candidate is recorded;
                otherwise operations have aten's names and no evaluations.
            rounded: a dtype; which values a run in it rounds is noted, and the model is run in it for that.
            keep: what to hold of each value, of a forward pass that cannot be replayed; of unread weights
                what depends on constants alone, unless it is given.
            dtype: another dtype than float64 to run in, as the program was written: nothing is lifted.
        """
        if self.trainable and not backward:
            forward = TorchProgram(self.model, self.task)
            return forward.trace(
                weights, inputs, replayable=replayable, rounded=rounded, keep=keep, dtype=dtype
            )
        from parity.frameworks.torch.torch_places import layers_of, module_stack
        from parity.frameworks.torch.torch_trace import Recorder
        from parity.frameworks.torch.torch_written import WrittenRecorder

        if keep is None and isinstance(weights, UnreadArrays):
            keep = of_constants()
        with knowing(self.task.numbers, self.task.settled), module_stack(self.model.module) as stack:
            if keep is not None:
                from parity.frameworks.torch.torch_streaming import StreamedRecorder

                recorder: Recorder = StreamedRecorder(stack, keep)
            else:
                recorder = replayable_recorder(stack) if replayable else Recorder(stack)
            trace = self._recorded(recorder, weights, inputs, dtype, lifted=dtype == "float64")
            if rounded is not None:
                as_written = self._recorded(WrittenRecorder(stack), weights, inputs, rounded, lifted=False)
                known = rounded_in(as_written, narrower(rounded))
                trace.held = carried_over(known, as_written, trace)
        trace.layers = layers_of(self.model.module)
        return trace

    def _recorded(
        self, recorder: "Recorder", weights: Arrays, inputs: Arrays, dtype: str, *, lifted: bool
    ) -> Trace:
        """What a recorder keeps of one run, with the names of what goes in and what comes out."""
        import torch

        from parity.frameworks.torch.torch_decompositions import plain_kernels
        from parity.frameworks.torch.torch_places import Where

        own, given = self._tensors(weights, inputs, dtype)
        lift = _lifted(dtype, self.task.rounding) if lifted else contextlib.nullcontext()
        with plain_kernels(), lift, Where(recorder.stack, recorder.stop):
            for name, tensor in own.items():
                recorder.source(
                    NodeKind.WEIGHT if name in self.model.weights else NodeKind.CONSTANT, name, tensor
                )
            for name in self.task.inputs:
                recorder.source(NodeKind.INPUT, name, given[name])
            with recorder:
                outputs, losses, grads = self._run(own, given, dtype)
        recorder.trace.outputs = {
            "outputs": {name: recorder.node_of(value) for name, value in outputs.items()},
            "loss": {n: recorder.node_of(v) for n, v in losses.items() if isinstance(v, torch.Tensor)},
            "gradients": {
                name: recorder.node_of(torch.zeros_like(own[name]) if grad is None else grad)
                for name, grad in grads.items()
            },
        }
        return recorder.trace

    def _tensors(self, weights: Arrays, inputs: Arrays, dtype: str) -> tuple[Tensors, Tensors]:
        from parity.frameworks.torch.torch_unread import weights_as_tensors

        widened = dtype == "float64"
        constants = {
            name: constant(array) if widened and is_float(array) else array
            for name, array in self.model.constants.items()
        }
        device = self.task.device
        arrays = overlaid(self.model.weights, weights)
        if widened and self.task.tables:
            tables = {name: arrays[name] for name in self.task.tables}
            arrays = overlaid(arrays, {name: constant(a) for name, a in tables.items() if is_float(a)})
        own = {name: to_torch(array, dtype, device) for name, array in constants.items()}
        dtypes = {name: weight_dtype(self.model.dtypes, name, dtype) for name in arrays}
        own |= weights_as_tensors(arrays, dtypes, device)
        for name in self.trainable:
            own[name].requires_grad_()
        laid_out = self.task.laid_out(inputs)
        return own, {name: to_torch(array, dtype, device) for name, array in laid_out.items()}

    def _call(self, own: Tensors, given: Tensors) -> object:
        inputs = {name: given[name] for name in self.task.inputs}
        args, kwargs = bind(self.model.target, self.model.skip, inputs)
        with self._sharing():
            return self.model.call(own, *args, **kwargs)

    def _sharing(self) -> contextlib.AbstractContextManager[object]:
        """Inside, the model's random draws read the shared stream, from its beginning."""
        if self.task.shares is None:
            return contextlib.nullcontext()
        from parity.frameworks.torch.torch_draws import SharedDraws

        stack = contextlib.ExitStack()
        stack.enter_context(uncompiled())
        stack.enter_context(SharedDraws(self.task.shares))
        return stack

    def _forward(self, weights: Arrays, inputs: Arrays, dtype: str) -> object:
        import torch

        own, given = self._tensors(weights, inputs, dtype)
        for tensor in own.values():  # no graph is kept
            tensor.requires_grad_(False)
        with (
            _lifted(dtype, self.task.rounding),
            running_torch(dtype),
            torch.inference_mode(False),
            torch.enable_grad(),  # a model may differentiate by its inputs
            raised_by("PyTorch", f"in {dtype}"),
        ):
            return self._call(own, given)

    def _run(
        self, own: Tensors, given: Tensors, dtype: str
    ) -> "tuple[Tensors, Tensors, Mapping[str, torch.Tensor | None]]":
        """Outputs, the loss and its parts, and gradients: None where the loss does not depend on a tensor."""
        import torch

        task = self.task
        with (
            running_torch(dtype),
            torch.inference_mode(False),
            torch.enable_grad(),  # a model may differentiate by its inputs
            raised_by("PyTorch", f"in {dtype}"),
        ):
            out = self._call(own, given)
            outputs: Tensors = task.outputs(out)
            if task.loss is None:
                loss = torch.zeros((), dtype=getattr(torch, dtype), device=task.device)
                for name, value in outputs.items():
                    parts = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
                    if parts.is_floating_point():
                        along = to_torch(direction(parts.shape, name), dtype, task.device)
                        loss = loss + (parts * along).sum()
                losses = {LOSS: loss}
            else:
                losses = losses_of(task.loss(out, targets_of(given, task.inputs)))
                loss = losses[LOSS]
            # A loss that no weight reaches has no graph at all, and the gradients are zero.
            wanted = [own[name] for name in self.trainable] if loss.requires_grad else []
            grads = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
        return outputs, losses, dict(itertools.zip_longest(self.trainable, grads))


def replayable_recorder(stack: list[str]) -> "Recorder":
    """A recorder in LAX's terms and with evaluations, as a candidate is recorded."""
    from parity.frameworks.torch.torch_replay import ReplayableRecorder

    return ReplayableRecorder(stack)


def _lifted(dtype: str, rounding: bool) -> contextlib.AbstractContextManager[None]:
    if dtype != "float64":
        return contextlib.nullcontext()
    from parity.frameworks.torch.torch_lift import lifting

    return lifting(rounding=rounding)


def _to_numpy(grad: "torch.Tensor") -> Shaped[np.ndarray, "..."]:
    """A gradient in the precision it was computed in."""
    array = grad.detach().cpu()
    plain = str(array.dtype) in ("torch.float32", "torch.float64")
    return np.asarray(array.numpy()) if plain else to_numpy(array)
