"""The table of the notebook's experiments: how wide each network is, and how it is trained.

The networks themselves are in `jaxnn.models`, `torchref.bare` and `torchref.modules`, under the same names;
`jaxnn.RECIPES` and `torchref.RECIPES` join them to the losses and optimisers that are named here.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from types import MappingProxyType
from typing import Literal

__all__ = ["EXPERIMENTS", "Experiment", "Labels", "Loss", "Optimizer"]

Labels = Literal["binary", "one_hot", "index", "real"]
"""Form of labels: ``binary`` (N,) of 0 and 1; ``one_hot`` (N, K); ``index`` (N,) integers; ``real`` (N,)."""

Loss = Literal[
    "binary_cross_entropy", "cross_entropy", "cross_entropy_mean_all", "cross_entropy_sum", "square_error"
]
"""Name of a function of `jaxnn.losses` and of `torchref.losses`."""

Optimizer = Literal["sgd", "two_rates", "adam"]
"""``sgd`` is plain gradient descent; ``two_rates`` gives the hidden layer a tenth of the rate; ``adam`` is
Adam with its usual constants."""


@dataclass(frozen=True)
class Experiment:
    """One experiment: its numbers, and the names of its loss and its optimiser.

    Attributes:
        section: Where the notebook has it.
        loss: What is differentiated.
        labels: The form of labels that its loss wants.
        epochs: Passes through the data, at least 1.
        learning_rate: Step size.
        batch_size: Samples per step; None for all of them. The last batch of an epoch may be short.
        hidden: Units, of convolutions channels, of the layers between the inputs and the outputs.
        images: True if inputs are raw images in [0, 1] instead of flat vectors in [-0.5, 0.5].
        quick_epochs: Passes that are enough to compare two programs, at least 1.
        optimizer: What makes the steps.
        reported: The loss that is recorded, where it is not the one that is differentiated.
        also: Other pairs (epochs, learning rate) that the notebook ran.
        network: The experiment whose network it trains, where that is another one.
        decay: Factor of the learning rate from one epoch to the next.
        dropout_rate: Share of hidden units, of convolutions channels, that a training step leaves out.
        l1: Factor of the sum of absolute weights that is added to the loss, biases left out.
        l2: Factor of the sum of squared weights that is added to the loss, biases left out.
        augmented: Whether every epoch sees the images rotated, scaled, shifted, flipped and brightened anew.
        patience: Epochs in a row without a better validation loss after which training stops; None for never.
        min_delta: By how much a validation loss must be lower to be better.
        by_default: Whether `parity run` has it without being asked; `parity run --all` has every experiment.
    """

    section: str
    _: KW_ONLY
    loss: Loss
    labels: Labels
    epochs: int
    quick_epochs: int
    learning_rate: float
    batch_size: int | None = None
    hidden: tuple[int, ...] = ()
    images: bool = False
    optimizer: Optimizer = "sgd"
    reported: Loss | None = None
    also: tuple[tuple[int, float], ...] = ()
    network: str | None = None
    decay: float = 1.0
    dropout_rate: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    augmented: bool = False
    patience: int | None = None
    min_delta: float = 0.0
    by_default: bool = True

    @property
    def runs(self) -> tuple[tuple[int, float], ...]:
        """All pairs (epochs, learning rate) that the notebook ran, the experiment's own first."""
        return ((self.epochs, self.learning_rate), *self.also)


_TWO_LAYER = Experiment(
    "3.3.3",
    loss="binary_cross_entropy",
    labels="binary",
    epochs=10000,
    quick_epochs=20,
    learning_rate=0.001,
    hidden=(5,),
    optimizer="two_rates",
    also=((5000, 0.05), (500, 0.5)),
)
_SOFTMAX_MEAN_ALL = Experiment(
    "4.4.1",
    loss="cross_entropy_mean_all",
    labels="one_hot",
    epochs=500,
    quick_epochs=20,
    learning_rate=0.5,
)
_LINEAR = Experiment(
    "4.4.2", loss="cross_entropy", labels="index", epochs=500, quick_epochs=20, learning_rate=0.1
)
_LINEAR_MINIBATCH = replace(_LINEAR, section="4.4.3", epochs=200, quick_epochs=3, batch_size=64)
# Rate and epochs from a later edition; this one prints 200 epochs.
_MLP = replace(
    _LINEAR_MINIBATCH,
    section="4.4.4",
    epochs=300,
    learning_rate=0.01,
    hidden=(200, 50, 20),
)
_CNN = Experiment(
    "4.6",
    loss="cross_entropy",
    labels="index",
    epochs=2500,
    quick_epochs=2,
    learning_rate=0.1,
    batch_size=64,
    hidden=(16, 16),
    images=True,
)
# The notebook sets the first two as exercises and describes the others: the numbers are this project's.
_ADAM = replace(
    _LINEAR_MINIBATCH, optimizer="adam", learning_rate=0.001, network="linear_minibatch", by_default=False
)
_GENERALISING_MLP = replace(_MLP, section="4.5", network="mlp", by_default=False)
_GENERALISING_CNN = replace(_CNN, section="4.5", network="cnn_global_pool", by_default=False)

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "logistic": Experiment(
            "3.1.5",
            loss="binary_cross_entropy",
            labels="binary",
            epochs=400,
            quick_epochs=20,
            learning_rate=0.05,
        ),
        # The mean is descended, the sum reported.
        "softmax": Experiment(
            "3.2.5",
            loss="cross_entropy",
            reported="cross_entropy_sum",
            labels="one_hot",
            epochs=300,
            quick_epochs=20,
            learning_rate=0.1,
        ),
        # Three hidden activations, of which the notebook prints the last; the numbers are the same.
        "two_layer_tanh": _TWO_LAYER,
        "two_layer_as_coded": _TWO_LAYER,
        "two_layer_as_printed": _TWO_LAYER,
        "softmax_mean_all": _SOFTMAX_MEAN_ALL,
        "softmax_module": replace(_SOFTMAX_MEAN_ALL, section="4.4.2"),
        "linear": _LINEAR,
        "linear_minibatch": _LINEAR_MINIBATCH,
        "mlp": _MLP,
        "cnn": _CNN,
        "cnn_global_pool": _CNN,  # the network that the notebook meant
        # The notebook describes it and runs nothing: the numbers are this project's.
        "regression": Experiment(
            "3.5",
            loss="square_error",
            labels="real",
            epochs=200,
            quick_epochs=10,
            learning_rate=0.05,
            batch_size=64,
            hidden=(20,),
        ),
        "linear_adam": _ADAM,
        "linear_exponential": replace(_ADAM, decay=0.95),
        "linear_early_stop": replace(
            _ADAM, section="4.5", learning_rate=0.005, quick_epochs=12, patience=3, min_delta=0.001
        ),
        "mlp_dropout": replace(_GENERALISING_MLP, learning_rate=0.1, dropout_rate=0.5),
        "mlp_l1": replace(_GENERALISING_MLP, l1=0.0001),
        "mlp_l2": replace(_GENERALISING_MLP, l2=0.001),
        "cnn_dropout": replace(_GENERALISING_CNN, dropout_rate=0.25),
        "cnn_augmented": replace(_GENERALISING_CNN, augmented=True),
    }
)
"""The experiments by name: from the simplest network to the convolutional one, then what the notebook leaves
to its readers."""
