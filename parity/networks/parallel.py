"""The training programs of a case over several processes: a mesh in JAX, DDP in PyTorch."""

import contextlib
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import torch

import jaxnn
import torchref
from parity.networks.drawing import draw_case
from parity.networks.network_training import jax_training, torch_training
from parity.networks.processes import Answer, ProcessGroup, Worker
from parity.networks.registry import CASES
from parity.numerics.arrays import Arrays
from parity.numerics.noise import Runnable, Subject, Values, current_noise_run, noise_run
from parity.numerics.precision import pinned, running
from parity.pipeline.pairs import Pair

SIDES = ("torch", "jax")


class Setup(NamedTuple):
    """What every process needs to build the programs of a case, which cannot be sent.

    Attributes:
        case: name of the case.
        data_name: name of the data set.
        limit: training samples; None for all.
        seed: of the weights.
        epochs: of the curve.
        learning_rate: step size.
        device: "cpu" or "cuda".
    """

    case: str
    data_name: str
    limit: int | None
    seed: int
    epochs: int
    learning_rate: float
    device: str


class Job(NamedTuple):
    """One run of one side's program, noise included.

    Attributes:
        setup: which programs.
        side: "torch" or "jax".
        weights: that side's weights by name.
        inputs: named inputs of both programs.
        dtype: name of the floating dtype.
        noise_run: number of the noise run; None without noise.
    """

    setup: Setup
    side: str
    weights: Arrays
    inputs: Arrays
    dtype: str
    noise_run: int | None


def subjects(group: ProcessGroup, setup: Setup, pair: Pair) -> dict[str, Subject]:
    """Both sides' training programs as a process group runs them.

    Args:
        group: processes that have called `join`.
        setup: of the case.
        pair: the networks and their weights.

    Returns:
        The programs and the weights they start from, by label.
    """

    def over_processes(side: str) -> Runnable:
        def program(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
            values: Values = group(Job(setup, side, weights, inputs, dtype, current_noise_run()))
            return values

        return program

    weights = {"torch": pair.weights, "jax": pair.candidate_weights}
    return {program_label(side, group.world): Subject(over_processes(side), weights[side]) for side in SIDES}


def program_label(side: str, world: int) -> str:
    """What a side is called when several processes run it.

    Args:
        side: "torch" or "jax".
        world: number of processes.

    >>> program_label("torch", 2)
    'torch x 2 processes'
    """
    return f"{side} x {world} processes"


def join(worker: Worker, device: str = "cpu") -> Answer:
    """Join both frameworks' process groups; to be called in every process.

    Args:
        worker: which process this is.
        device: "cpu", or "cuda": then each process takes the GPU of its rank.

    Returns:
        What answers a `Job`: it runs one training program.
    """
    cuda = device == "cuda"
    if cuda:
        torch.cuda.set_device(worker.rank)
    jaxnn.mesh.start(
        worker.coordinator, worker.world, worker.rank, local_device_ids=[worker.rank] if cuda else None
    )
    ranks = torchref.parallel.start(worker.rank, worker.world, meet=worker.meet, device=device)
    torch.set_num_threads(max(1, torch.get_num_threads() // worker.world))  # they share the cores
    mesh = jaxnn.mesh.make(jax.devices("gpu" if cuda else "cpu"))

    @functools.lru_cache(maxsize=1)
    def programs(setup: Setup) -> Mapping[str, Runnable]:
        drawn = draw_case(CASES[setup.case], setup.data_name, seed=setup.seed, limit=setup.limit)
        pair, how = drawn.pair(), (setup.epochs, setup.learning_rate, drawn.order, setup.device)
        return {
            "torch": torch_training(pair, drawn.torch_recipe, *how, ranks=ranks),
            "jax": jax_training(pair, drawn.jax_recipe, *how, mesh=mesh),
        }

    def answer(job: Job) -> Values:
        with contextlib.ExitStack() as stack:
            stack.enter_context(pinned(seed=job.setup.seed))
            program = programs(job.setup)[job.side]
            stack.enter_context(noise_run(job.noise_run))
            if job.side == "jax":
                stack.enter_context(running(job.dtype, job.setup.device))
            return program(job.weights, job.inputs, job.dtype)

    return answer
