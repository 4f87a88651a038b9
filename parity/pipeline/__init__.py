"""`record` and `compare`: the two sides of a comparison one at a time, in processes or on machines apart.

    parity.record("torch-side", torch_model=module, inputs={"x": x})        # where PyTorch is
    parity.record("jax-side", jax_model=net, weights="torch-side")          # where JAX is
    print(parity.compare("torch-side", "jax-side"))                         # anywhere: needs neither

PyTorch's side is recorded first: it holds the weights and inputs that JAX's side then runs with, so that
both see the same numbers and the same noise. What `check` compares is compared, by the same yardstick;
where two sides part is found only with both at hand.
"""

from parity.pipeline.comparing import compare
from parity.pipeline.recorder import record
from parity.pipeline.recordings import Recording

__all__ = ["Recording", "compare", "record"]
