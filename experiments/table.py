"""The table of the notebook's experiments: how wide each network is, and how it is trained.

The networks, losses and optimisers are in `jaxnn.RECIPES` and `torchref.RECIPES`, under the same names.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from types import MappingProxyType
from typing import Literal

__all__ = ["EXPERIMENTS", "Experiment", "Labels"]

Labels = Literal["binary", "one_hot", "index", "real"]
"""Form of labels: ``binary`` (N,) of 0 and 1; ``one_hot`` (N, K); ``index`` (N,) integers; ``real`` (N,)."""


@dataclass(frozen=True)
class Experiment:
    """The numbers of one experiment.

    Attributes:
        section: Where the notebook has it.
        labels: The form of labels that its loss wants.
        epochs: Passes through the data, at least 1.
        learning_rate: Step size.
        batch_size: Samples per step; None for all of them. The last batch of an epoch may be short.
        hidden: Units, of convolutions channels, of the layers between the inputs and the outputs.
        images: True if inputs are raw images in [0, 1] instead of flat vectors in [-0.5, 0.5].
        also: Other pairs (epochs, learning rate) that the notebook ran.
    """

    section: str
    _: KW_ONLY
    labels: Labels
    epochs: int
    learning_rate: float
    batch_size: int | None = None
    hidden: tuple[int, ...] = ()
    images: bool = False
    also: tuple[tuple[int, float], ...] = ()

    @property
    def runs(self) -> tuple[tuple[int, float], ...]:
        """All pairs (epochs, learning rate) that the notebook ran, the experiment's own first."""
        return ((self.epochs, self.learning_rate), *self.also)


_TWO_LAYER = Experiment(
    "3.3.3",
    labels="binary",
    epochs=10000,
    learning_rate=0.001,
    hidden=(5,),
    also=((5000, 0.05), (500, 0.5)),
)
_SOFTMAX_MEAN_ALL = Experiment("4.4.1", labels="one_hot", epochs=500, learning_rate=0.5)
_LINEAR = Experiment("4.4.2", labels="index", epochs=500, learning_rate=0.1)
_CNN = Experiment(
    "4.6",
    labels="index",
    epochs=2500,
    learning_rate=0.1,
    batch_size=64,
    hidden=(16, 16),
    images=True,
)

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "logistic": Experiment("3.1.5", labels="binary", epochs=400, learning_rate=0.05),
        "softmax": Experiment("3.2.5", labels="one_hot", epochs=300, learning_rate=0.1),
        # Three hidden activations, of which the notebook prints the last; the numbers are the same.
        "two_layer_tanh": _TWO_LAYER,
        "two_layer_as_coded": _TWO_LAYER,
        "two_layer_as_printed": _TWO_LAYER,
        "softmax_mean_all": _SOFTMAX_MEAN_ALL,
        "softmax_module": replace(_SOFTMAX_MEAN_ALL, section="4.4.2"),
        "linear": _LINEAR,
        "linear_minibatch": replace(_LINEAR, section="4.4.3", epochs=200, batch_size=64),
        # Rate and epochs from a later edition; this one prints 200 epochs.
        "mlp": replace(
            _LINEAR, section="4.4.4", epochs=300, learning_rate=0.01, batch_size=64, hidden=(200, 50, 20)
        ),
        "cnn": _CNN,
        "cnn_global_pool": _CNN,  # the network that the notebook meant
        # The notebook describes it and runs nothing: the numbers are this project's.
        "regression": Experiment(
            "3.5", labels="real", epochs=200, learning_rate=0.05, batch_size=64, hidden=(20,)
        ),
    }
)
"""The experiments by name, from the simplest network to the convolutional one."""
