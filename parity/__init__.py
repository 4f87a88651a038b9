"""Says whether two programs, in PyTorch or JAX, compute the same thing, with evidence.

    import parity
    report = parity.check(torch_module, jax_function, {"x": x}, weights=parity.Weights(template=params))
    print(report)                                    # verdict, then what failed and what is known of it
    parity.assert_parity(torch_module, nnx_module, {"x": x})   # in a test

`import parity` loads neither framework: names are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.numerics.noise import Subject as Subject
    from parity.pipeline.check import assert_parity as assert_parity
    from parity.pipeline.check import check as check
    from parity.pipeline.check_init import assert_init_parity as assert_init_parity
    from parity.pipeline.check_init import check_init as check_init
    from parity.pipeline.check_training import assert_training_parity as assert_training_parity
    from parity.pipeline.check_training import check_training as check_training
    from parity.pipeline.measuring import Oracle as Oracle
    from parity.pipeline.pairs import plan_weights as plan_weights
    from parity.pipeline.record import compare as compare
    from parity.pipeline.record import record as record
    from parity.pipeline.request import Settings as Settings
    from parity.pipeline.request import Weights as Weights
    from parity.report.errors import HarnessError as HarnessError
    from parity.report.quantities import Quantity as Quantity
    from parity.report.report import ParityError as ParityError
    from parity.report.report import Report as Report
    from parity.report.verdicts import Verdict as Verdict
    from parity.weights import WeightError as WeightError

_HOMES = {
    "HarnessError": "parity.report.errors",
    "Oracle": "parity.pipeline.measuring",
    "ParityError": "parity.report.report",
    "Quantity": "parity.report.quantities",
    "Report": "parity.report.report",
    "Settings": "parity.pipeline.request",
    "Subject": "parity.numerics.noise",
    "Verdict": "parity.report.verdicts",
    "WeightError": "parity.weights",
    "Weights": "parity.pipeline.request",
    "assert_init_parity": "parity.pipeline.check_init",
    "assert_parity": "parity.pipeline.check",
    "assert_training_parity": "parity.pipeline.check_training",
    "check": "parity.pipeline.check",
    "check_init": "parity.pipeline.check_init",
    "check_training": "parity.pipeline.check_training",
    "compare": "parity.pipeline.record",
    "plan_weights": "parity.pipeline.pairs",
    "record": "parity.pipeline.record",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("parity-networks")
    if name == "optimizers":
        return importlib.import_module("parity.optimizers")
    if name not in _HOMES:
        raise AttributeError(f"module 'parity' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__", "optimizers"])
