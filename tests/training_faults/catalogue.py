"""All faults of training, and all right set-ups."""

from tests.training_faults import cases, chain_cases, more_cases

FAULTS = {**cases.FAULTS, **more_cases.FAULTS, **chain_cases.FAULTS}
RIGHT = {**cases.RIGHT, **more_cases.RIGHT}
