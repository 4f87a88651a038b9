"""Says whether a PyTorch program and a JAX program compute the same thing, with evidence.

    import parity
    report = parity.check(torch_module, jax_function, {"x": x}, template=params)
    print(report)                                    # verdict, then what failed and what is known of it
    parity.assert_parity(torch_module, jax_function, {"x": x}, template=params)   # in a test

`import parity` loads neither framework: names are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.numerics.noise import Subject as Subject
    from parity.pipeline import compare as compare
    from parity.pipeline import record as record
    from parity.pipeline.check import assert_parity as assert_parity
    from parity.pipeline.check import check as check
    from parity.pipeline.check_training import assert_training_parity as assert_training_parity
    from parity.pipeline.check_training import check_training as check_training
    from parity.pipeline.pairs import Oracle as Oracle
    from parity.report.quantities import Quantity as Quantity
    from parity.report.report import ParityError as ParityError
    from parity.report.report import Report as Report
    from parity.report.verdicts import Verdict as Verdict

_HOMES = {
    "Oracle": "parity.pipeline.pairs",
    "ParityError": "parity.report.report",
    "Quantity": "parity.report.quantities",
    "Report": "parity.report.report",
    "Subject": "parity.numerics.noise",
    "Verdict": "parity.report.verdicts",
    "assert_parity": "parity.pipeline.check",
    "assert_training_parity": "parity.pipeline.check_training",
    "check": "parity.pipeline.check",
    "check_training": "parity.pipeline.check_training",
    "compare": "parity.pipeline",
    "record": "parity.pipeline",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'parity' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
