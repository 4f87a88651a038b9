"""What both frameworks give the harness: a model with weights, and a program that runs it.

Everything above this room sees these two interfaces alone. `parity.frameworks.opening` says which framework
an object belongs to.
"""

from collections.abc import Callable, Collection, Mapping, Set
from typing import Any, NamedTuple, Protocol, runtime_checkable

from parity.frameworks.task import Task
from parity.numerics.arrays import NARROW, Arrays
from parity.numerics.draws import Draw
from parity.numerics.noise import Values
from parity.trace.computed_constants import Constants
from parity.trace.graph import Spot, Trace
from parity.trace.kept_values import Keep
from parity.weights import Signature, Use


class Census(NamedTuple):
    """What a model meets on its way.

    Attributes:
        narrow: bfloat16 and float16 inside it, each with the first place.
        random: operations that draw random numbers, each with the first place.
        computed: those narrow dtypes that it computes in, rather than rounding single values to them.
    """

    narrow: Mapping[str, Spot] = {}
    random: Mapping[str, Spot] = {}
    computed: frozenset[str] = frozenset()


@runtime_checkable
class Program(Protocol):
    """A deterministic function from named arrays to named values, in one framework."""

    task: Task
    undifferentiable: str | None
    """Why there are no gradients, in one line; None where there are."""

    def __call__(self, weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        """Run once: the groups "outputs", "loss" and "gradients", these under the names of the weights."""

    def returned(self, weights: Arrays, inputs: Arrays) -> object:
        """What the model itself returns, with arrays or their shapes as leaves.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
        """

    def reached(self, weights: Arrays, inputs: Arrays) -> int:
        """How many operations the model computes before it returns, or raises: how far it gets.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
        """

    def census(self, weights: Arrays, inputs: Arrays) -> Census:
        """Narrow dtypes and random numbers that a run in the model's own dtypes meets.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
        """

    def draws(self, weights: Arrays, inputs: Arrays) -> tuple[Draw, ...]:
        """The random numbers that the model draws, in order.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
        """

    def require_repeatable(self, weights: Arrays, inputs: Arrays, census: Census) -> None:
        """Check that two runs give the same; raise ValueError, naming where they part.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
            census: what `census` returned: it names the random numbers.

        Raises:
            ValueError: if they differ, naming where they part.
        """

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
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
            backward: whether to record the gradients, too.
            replayable: whether to record evaluations in LAX's terms, so that a value can be changed and what
                follows computed again.
            rounded: a dtype; which values a run in it rounds is noted (`Trace.held`).
            keep: what to hold of each value, of a forward pass that cannot be replayed; of unread weights
                what depends on constants alone, unless it is given.
            dtype: another dtype than float64 to run in, as the program was written: nothing is lifted.
        """

    def constants(self, weights: Arrays, inputs: Arrays, trace: Trace | None = None) -> Constants:
        """The float32 constants of a lifted run, and what it computes from constants alone.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
            trace: a trace of these weights and inputs; None runs the model for one where it is needed.
        """

    def uses(self, weights: Arrays, inputs: Arrays, trace: Trace | None = None) -> Mapping[str, Use]:
        """The first use of each weight; `trace` saves a run where there is one already.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
            trace: a trace of these weights and inputs; None runs the model for one.
        """

    def output_dtypes(
        self, weights: Arrays, inputs: Arrays, dtype: str
    ) -> Mapping[str, tuple[str, Spot | None]]:
        """The dtypes of the outputs of a run in `dtype`, and where one became wider than that.

        Args:
            weights: arrays by the model's own names.
            inputs: arrays by name, in the reference's layout.
            dtype: the dtype that weights and inputs are converted to first.

        Returns:
            By output: its dtype, and the place, if known.
        """


@runtime_checkable
class Model(Protocol):
    """A program with weights, taken apart; the user's own object is never written to."""

    @property
    def framework(self) -> str:
        """The framework's name in a sentence: "PyTorch" or "JAX"."""

    @property
    def weights(self) -> Arrays:
        """Every floating weight by name, as NumPy arrays."""

    @property
    def dtypes(self) -> Mapping[str, str]:
        """The dtype that each weight is stored in, by its NumPy name."""

    @property
    def trainable(self) -> tuple[str, ...]:
        """Names of the weights that gradients are taken of."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What the weight plan needs to know of each weight, but for its first use."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Weights that may stay without a partner: the user's own buffers, frozen parameters."""

    @property
    def updated(self) -> Set[str]:
        """Names of the weights that its runs so far wrote to, such as running statistics."""

    @property
    def updates(self) -> Callable[..., Mapping[str, Any]]:
        """`updates(weights, *args, **kwargs)`: the weights that a run writes to, as it leaves them."""

    @property
    def keeps_state(self) -> bool:
        """Whether it has a state of its own that its runs write to: what they do not write, they keep."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the model, or chosen for it, in words."""

    def program(self, task: Task, *, trainable: Collection[str] | None = None) -> Program:
        """The program of this model; `trainable` names the weights to differentiate by (None: its own)."""

    def remarks(self, inputs: Arrays, task: Task) -> tuple[str, ...]:
        """What is worth saying of the mode that the model is in, and of random numbers in it.

        Args:
            inputs: arrays by name, in the reference's layout.
            task: which outputs and which loss are computed.
        """


def stored_narrow(dtypes: Mapping[str, str]) -> frozenset[str]:
    """The narrow dtypes in which a model stores weights: it computes in them.

    Args:
        dtypes: name of a weight -> the dtype that it is stored in.
    """
    return frozenset(NARROW) & set(dtypes.values())


def weight_dtype(dtypes: Mapping[str, str], name: str, dtype: str) -> str:
    """The dtype in which a weight goes into a run in a floating dtype.

    A weight that is stored in float32 beside others in the narrow dtype of the run stays in float32.

    Args:
        dtypes: name of a weight -> the dtype that it is stored in.
        name: of the weight.
        dtype: of the run.

    >>> stored = {"kernel": "bfloat16", "scale": "float32"}
    >>> [weight_dtype(stored, name, "bfloat16") for name in stored]
    ['bfloat16', 'float32']
    """
    wide = dtypes.get(name) in ("float32", "float64") and dtype in stored_narrow(dtypes)
    return "float32" if wide else dtype


def stored_remarks(framework: str, dtypes: Collection[str]) -> tuple[str, ...]:
    """What to say of weights that are stored in a narrow dtype.

    Args:
        framework: whose weights.
        dtypes: names of the dtypes that they are stored in.
    """
    narrow = sorted(set(NARROW) & set(dtypes))
    if not narrow:
        return ()
    return (
        f"the {framework} weights are stored in {', '.join(narrow)}: their numbers are used as they are, and "
        "computed with in the dtypes judged",
    )
