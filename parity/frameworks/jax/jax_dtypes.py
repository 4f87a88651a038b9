"""The dtypes in which a JAX model is traced: that of the run, and those that weights are stored in."""

import contextlib

import jax

from parity.frameworks.jax.jax_model import JaxModel
from parity.frameworks.jax.jax_passes import Passes
from parity.frameworks.jax.shapes import InputShapes, Shapes, input_shapes, shapes_in_jax
from parity.frameworks.model import stored_narrow, weight_dtype
from parity.numerics.arrays import Arrays
from parity.numerics.precision import running
from parity.numerics.unread import shapes_only


class TracingDtypes:
    """The dtypes of weights and inputs when a model is traced for a run."""

    def __init__(self, model: JaxModel, passes: Passes, device: str) -> None:
        """The dtypes of `model`.

        Args:
            model: whose weights.
            passes: what is traced.
            device: on which it runs.
        """
        self.model, self.passes, self.device = model, passes, device
        self._taken: dict[InputShapes, str] = {}

    def tracing_in(self, dtype: str) -> contextlib.AbstractContextManager[None]:
        """What holds while a run in a dtype is traced; one in float32 with x64 as the user has set it.

        Args:
            dtype: name of the floating dtype.
        """
        return contextlib.nullcontext() if dtype == "float32" else running(dtype, self.device)

    def shapes(self, leaves: Arrays, dtype: str) -> Shapes:
        """Shapes of leaves, in the dtypes in which they go into a run.

        Args:
            leaves: by path.
            dtype: name of the floating dtype of the run.
        """
        own = {path: weight_dtype(self.model.dtypes, path, dtype) for path in leaves}
        return {path: shapes_in_jax({path: leaf}, own[path])[path] for path, leaf in leaves.items()}

    def taken(self, given: Arrays) -> str:
        """The dtype that the model is traced in: float32, or that of its weights where it takes no other.

        A loop whose first state is written in bfloat16 runs with nothing else.

        Args:
            given: inputs by name, in the model's layout.
        """
        narrow = sorted(stored_narrow(self.model.dtypes))
        if not narrow:
            return "float32"
        shapes = input_shapes(given)
        if shapes not in self._taken:  # to ask is to trace the model
            found = (dtype for dtype in ("float32", *narrow) if self._takes(dtype, given))
            self._taken[shapes] = next(found, "float32")
        return self._taken[shapes]

    def _takes(self, dtype: str, given: Arrays) -> bool:
        """Whether the model can be traced with weights and inputs of a dtype."""
        try:
            with self.tracing_in(dtype):
                leaves = self.shapes(shapes_only(self.model.weights), dtype)
                jax.eval_shape(self.passes.returned, leaves, shapes_in_jax(given, dtype))
        except Exception:
            return False
        return True
