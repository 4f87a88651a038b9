"""The notebook's experiments in plain numbers and names, for `jaxnn`, `torchref` and `parity` alike.

    >>> from experiments import EXPERIMENTS
    >>> EXPERIMENTS["mlp"].hidden, EXPERIMENTS["mlp"].epochs
    ((200, 50, 20), 300)

No framework is imported, nor anything else outside the standard library.
"""

from experiments.table import EXPERIMENTS, Experiment, Labels, Loss, Optimizer

__all__ = ["EXPERIMENTS", "Experiment", "Labels", "Loss", "Optimizer"]
