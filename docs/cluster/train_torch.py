"""Train softmax regression over the processes of torchrun: `torchrun --nproc-per-node 2 train_torch.py`."""

import argparse
import os
import time

import torch

import torchref
from parity.cases.samples import load_samples

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
arguments = parser.parse_args()

device = arguments.device
if device == "cuda":
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
ranks = torchref.parallel.start(device=device)

samples = load_samples("embedded", labels="one_hot", images=False)
tensors = {name: torch.tensor(a, dtype=torch.float32, device=device) for name, a in samples.inputs.items()}
recipe = torchref.RECIPES["softmax_module"]
network, parameters = torchref.instantiate(
    recipe, samples.input_shape, samples.num_outputs, seed=0, device=device
)

started = time.perf_counter()
history = torchref.fit(
    network,
    parameters,
    (tensors["x_train"], tensors["y_train"]),
    (tensors["x_val"], tensors["y_val"]),
    loss=torchref.losses.cross_entropy,
    metrics={"loss": torchref.losses.cross_entropy_sum},
    optimizer=recipe.optimizer,
    learning_rate=0.1,
    epochs=arguments.epochs,
    ranks=ranks,
)
if ranks.rank == 0:
    seconds = time.perf_counter() - started
    print(f"{ranks.world} processes: loss {history['train_loss'][-1]:.6g} after {seconds:.1f} s")
