"""The notebook's experiments in plain numbers, which `jaxnn`, `torchref` and `parity` all read from here.

    >>> from experiments import EXPERIMENTS
    >>> EXPERIMENTS["mlp"].hidden, EXPERIMENTS["mlp"].epochs
    ((200, 50, 20), 300)

No framework is imported, nor anything else outside the standard library.
"""

from experiments.table import EXPERIMENTS, Experiment, Labels

__all__ = ["EXPERIMENTS", "Experiment", "Labels"]
