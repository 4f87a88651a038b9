"""What gradients tell apart takes along what stands beside it."""

import numpy as np

from parity.numerics.arrays import Arrays
from parity.weights import Signature
from parity.weights.assigning import Exchange
from parity.weights.evidence import signatures
from parity.weights.levelling import told_apart
from parity.weights.matches import matched
from parity.weights.pricing import Pricing
from parity.weights.splitting import of_leaf, of_tensor


def test_a_bias_that_no_gradient_was_asked_about_follows_its_weight() -> None:
    names = [f"{module}.{last}" for module in ("first", "second") for last in ("weight", "bias")]
    tensors = {name: Signature((4,), "LayerNorm") for name in names}
    leaves = signatures({f"norm_{i}/{last}": (4,) for i in range(2) for last in ("scale", "bias")})
    units = [of_tensor(name, tensors[name]).choices[0].make()[0] for name in tensors]
    slots = [of_leaf(path, leaves[path]).choices[0].make()[0] for path in leaves]
    pricing = Pricing()
    astray = [matched(units[i], slots[j], pricing) for i, j in ((0, 2), (1, 3), (2, 0), (3, 1))]
    part = slots[0]._replace(label="packed/part", path="packed", put=(slice(0, 4),))
    beside = matched(units[0]._replace(label="other.weight"), part, pricing)
    grads = {name: np.full(4, float(i)) for i, name in enumerate(tensors)}
    leaf_grads = {path: np.full(4, float(i)) for i, path in enumerate(leaves)}

    def gradients(*_: object) -> tuple[Arrays, Arrays]:
        return grads, leaf_grads

    told = told_apart([*astray, beside], [Exchange(0, 2, 0.1)], gradients, tensors, pricing)
    assert {match.unit.label: match.slot.label for match in told[:4]} == dict(
        zip(tensors, leaves, strict=True)
    )
    assert told[4] == beside
