"""The optimisers of `torch.optim` whose update rules are known, by the names of their classes.

Nothing here needs PyTorch: a run that was recorded with it is explained where there is only JAX.
"""

from collections.abc import Mapping

from parity.optimizers.matrix_rules import MUON
from parity.optimizers.moment_rules import ADAM, ADAMAX, NADAM, RADAM, SPARSE_ADAM
from parity.optimizers.momentum_rules import ASGD, RPROP, SGD
from parity.optimizers.root_rules import ADADELTA, ADAFACTOR, ADAGRAD, RMSPROP
from parity.optimizers.rules import Rule

RULES: Mapping[str, Rule] = {
    "SGD": SGD,
    "ASGD": ASGD,
    "Rprop": RPROP,
    "Adam": ADAM,
    "AdamW": ADAM,
    "Adamax": ADAMAX,
    "NAdam": NADAM,
    "RAdam": RADAM,
    "SparseAdam": SPARSE_ADAM,
    "Adagrad": ADAGRAD,
    "Adadelta": ADADELTA,
    "RMSprop": RMSPROP,
    "Adafactor": ADAFACTOR,
    "Muon": MUON,
}
"""The rule of each optimiser that can be translated; AdamW is Adam with an option."""

SLOTS: Mapping[str, Mapping[str, str]] = {
    "SGD": {"trace": "momentum_buffer"},
    "Adam": {"mu": "exp_avg", "nu": "exp_avg_sq"},
    "AdamW": {"mu": "exp_avg", "nu": "exp_avg_sq"},
    "Adamax": {"mu": "exp_avg", "nu": "exp_inf"},
    "Adadelta": {"e_g": "square_avg", "e_x": "acc_delta"},
    "RMSprop": {"nu": "square_avg", "mu": "grad_avg", "trace": "momentum_buffer"},
}
"""optax's fields that hold what PyTorch's slots hold."""
