"""Train a linear classifier over the processes of torchrun: `torchrun --nproc-per-node 2 train_torch.py`."""

import argparse
import os
import time

import torch

import torchref
from parity.networks.samples import load_samples

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
recipe = torchref.RECIPES["linear"]
labels = {name: tensors[name].argmax(1) for name in ("y_train", "y_val")}


def train() -> dict[str, torch.Tensor]:
    """Train from the start."""
    network, parameters = torchref.instantiate(
        recipe, samples.input_shape, samples.num_outputs, seed=0, device=device
    )
    return torchref.fit(
        network,
        parameters,
        (tensors["x_train"], labels["y_train"]),
        (tensors["x_val"], labels["y_val"]),
        loss=recipe.loss,
        metrics=recipe.metrics,
        optimizer=recipe.optimizer,
        learning_rate=recipe.learning_rate,
        epochs=arguments.epochs,
        ranks=ranks,
    )


train()  # warms up
started = time.perf_counter()
loss = float(train()["train_loss"][-1])
if ranks.rank == 0:
    each = (time.perf_counter() - started) / arguments.epochs
    print(f"{ranks.world} processes: loss {loss:.6g}, {1e3 * each:.3g} ms an epoch")
torch.distributed.destroy_process_group()
