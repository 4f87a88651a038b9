"""What the user asked for, read once at the door."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from parity.frameworks.outputs import Outputs
from parity.frameworks.task import Loss
from parity.frameworks.unread_weights import Streaming
from parity.numerics.arrays import Arrays, Params, require_dtypes
from parity.pipeline.inputs import name_inputs, sets_of
from parity.weights import Pins
from parity.weights.stored_tensors import Paths


@dataclass(frozen=True)
class Weights:
    """Where the weights of both sides come from, and what the plan between them needs to be told.

    Without any of this each side's own weights are read, and the plan is found from kinds, shapes, names,
    order of first use and, where that leaves ties, by running.

    Attributes:
        template: params of the candidate, as arrays or `jax.ShapeDtypeStruct`, to be loaded; a function
            needs one.
        params: params of the candidate that the user converted: checked against the plan and used as they
            are.
        reference_params: weights of the reference, if it is a function, or a module without its own:
            tensors by name, or a pytree of arrays.
        weights_file: safetensors file, directory of such files, or several of either, from which a recording
            with `stream` reads the reference's weights one at a time.
        pins: reference's name -> candidate's, or -> (candidate's name, permutation), where the plan needs
            help.
        unused: weights of the reference that may stay without a partner.
        missing: weights of the candidate that may stay without a partner.
    """

    template: Params | None = None
    params: Params | None = None
    reference_params: Params | None = None
    weights_file: Paths | None = None
    pins: Pins | None = None
    unused: Collection[str] = ()
    missing: Collection[str] = ()


@dataclass(frozen=True)
class Settings:
    """How a comparison runs and judges.

    Attributes:
        dtypes: floating dtypes to judge; None: float64 and float32, or the narrower one in use.
        finite_differences: whether to judge the gradients against finite differences, too.
        moved_weights: whether to run once more with every weight moved: zeros and ones, as at the start,
            hide faults.
        localise: whether to look for the place and the cause of a difference.
        reproduce: directory to write the smallest reproducer of each divergence to.
        rtol, atol: judge entry by entry by |candidate - reference| <= atol + rtol |reference| instead of
            the yardstick; both or neither.
        seed: of the global generators while the models run.
        device: "cpu" or "cuda", for both sides.
    """

    dtypes: Collection[str] | None = None
    finite_differences: bool = True
    moved_weights: bool = True
    localise: bool = True
    reproduce: str | os.PathLike[str] | None = None
    rtol: float | None = None
    atol: float | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check what can be checked without a framework."""
        if self.dtypes is not None:
            require_dtypes(self.dtypes if isinstance(self.dtypes, str) else tuple(self.dtypes))
        if (self.rtol is None) != (self.atol is None):
            raise ValueError(
                f"`rtol` is {self.rtol} and `atol` is {self.atol}; give both, or neither to judge by the "
                "yardstick"
            )

    @property
    def tolerance(self) -> tuple[float, float] | None:
        """(rtol, atol), or None where the yardstick judges."""
        return None if self.rtol is None or self.atol is None else (self.rtol, self.atol)


@dataclass(frozen=True)
class Request:
    """One comparison as the user asked for it.

    Attributes:
        reference, candidate: the two models; None for a side that is not here.
        inputs: sets of named arrays, inputs and targets together, in the reference's layout.
        input_names: which of the arrays are inputs.
        losses: (reference's, candidate's), or (None, None).
        outputs: which outputs to compare.
        layout: input or output name -> permutation from the reference's axes to the candidate's.
        weights: see `Weights`.
        settings: see `Settings`.
        name: of the report.
        streaming: where the weights are read from, where they are not to be held in memory.
    """

    reference: object = None
    candidate: object = None
    inputs: tuple[Arrays, ...] = ()
    input_names: tuple[str, ...] = ()
    losses: tuple[Loss | None, Loss | None] = (None, None)
    outputs: Outputs = field(default_factory=Outputs)
    layout: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    settings: Settings = field(default_factory=Settings)
    name: str = "check"
    streaming: Streaming | None = None

    @classmethod
    def of(
        cls,
        reference: object,
        candidate: object,
        inputs: object,
        *,
        targets: object = None,
        loss: tuple[Loss, Loss] | None = None,
        outputs: object = None,
        layout: Mapping[str, tuple[int, ...]] | None = None,
        weights: Weights | None = None,
        settings: Settings | None = None,
        name: str = "check",
    ) -> "Request":
        """Read the arguments of `parity.check`.

        Args:
            reference: a model of either framework.
            candidate: the model that should compute the same.
            inputs: arrays by name or in order, or a list of such sets.
            targets: what the loss takes besides the outputs.
            loss: the reference's and the candidate's loss.
            outputs: which outputs are compared, and what they are called.
            layout: permutations of the inputs' axes, by name.
            weights: wishes about weights.
            settings: how to compare.
            name: name of the pair.

        Raises:
            TypeError, ValueError: naming the argument that cannot be read.
        """
        for given, kind, argument in ((weights, Weights, "weights"), (settings, Settings, "settings")):
            if given is not None and not isinstance(given, kind):
                raise TypeError(
                    f"`{argument}` is of type {type(given).__name__}; it must be a parity.{kind.__name__}"
                )
        if loss is not None and not (
            isinstance(loss, tuple | list) and len(loss) == 2 and all(callable(one) for one in loss)
        ):
            raise ValueError(
                "`loss` must be (reference's loss, candidate's loss): both functions, or leave it out"
            )
        named = [name_inputs(one, targets) for one in sets_of(inputs)]
        return cls(
            reference,
            candidate,
            tuple(arrays for arrays, _ in named),
            named[0][1],
            (loss[0], loss[1]) if loss is not None else (None, None),
            Outputs.of(outputs),
            {name: tuple(axes) for name, axes in (layout or {}).items()},
            weights or Weights(),
            settings or Settings(),
            name,
        )
