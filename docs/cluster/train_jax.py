"""Train softmax regression over all devices of all processes: `python train_jax.py --help`."""

import argparse
import time

import jax

import jaxnn
from parity.networks.samples import load_samples

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--coordinator", help="host:port of process 0; found by itself under Slurm and Open MPI")
parser.add_argument("--processes", type=int, help="how many there are; likewise")
parser.add_argument("--process", type=int, help="which one this is, from 0; likewise")
parser.add_argument("--alone", action="store_true", help="one process")
parser.add_argument("--epochs", type=int, default=100)
arguments = parser.parse_args()

if not arguments.alone:  # before anything else is done with JAX
    jaxnn.mesh.start(arguments.coordinator, arguments.processes, arguments.process)

samples = load_samples("embedded", labels="one_hot", images=False)
arrays = {name: array.astype("float32") for name, array in samples.inputs.items()}
recipe = jaxnn.RECIPES["softmax"]
model = recipe.model(samples.jax_input_shape, samples.num_outputs)
params = model.init(jax.random.key(0))
mesh = jaxnn.mesh.make()


def train() -> jaxnn.Fit:
    """Train from the start, and wait until all is done."""
    return jax.block_until_ready(
        jaxnn.fit(
            model.apply,
            params,
            (arrays["x_train"], arrays["y_train"]),
            (arrays["x_val"], arrays["y_val"]),
            loss=recipe.loss,
            metrics=recipe.metrics,
            optimizer=recipe.optimizer,
            learning_rate=recipe.learning_rate,
            epochs=arguments.epochs,
            mesh=mesh,
        )
    )


train()  # compiles
started = time.perf_counter()
loss = float(train().history["train_loss"][-1])
if jax.process_index() == 0:
    each = (time.perf_counter() - started) / arguments.epochs
    print(
        f"{jax.process_count()} processes, {mesh.size} devices: loss {loss:.6g}, {1e3 * each:.3g} ms an epoch"
    )
