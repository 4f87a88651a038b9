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
    from parity.model_check import assert_parity as assert_parity
    from parity.model_check import check as check
    from parity.noise import Subject as Subject
    from parity.pairs import Oracle as Oracle
    from parity.recording import compare as compare
    from parity.recording import record as record
    from parity.result import ParityError as ParityError
    from parity.result import Quantity as Quantity
    from parity.result import Report as Report
    from parity.result import Verdict as Verdict
    from parity.training_check import assert_training_parity as assert_training_parity
    from parity.training_check import check_training as check_training

_HOMES = {
    "Oracle": "parity.pairs",
    "ParityError": "parity.result",
    "Quantity": "parity.result",
    "Report": "parity.result",
    "Subject": "parity.noise",
    "Verdict": "parity.result",
    "assert_parity": "parity.model_check",
    "assert_training_parity": "parity.training_check",
    "check": "parity.model_check",
    "check_training": "parity.training_check",
    "compare": "parity.recording",
    "record": "parity.recording",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'parity' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
