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
from parity.networks.processes import Answer, Gang, Member
from parity.networks.registry import CASES
from parity.numerics.arrays import Arrays
from parity.numerics.noise import Program, Subject, Values, current_noise_run, noise_run
from parity.numerics.precision import pinned, running
from parity.pipeline.pairs import Pair

SIDES = ("torch", "jax")


class Setup(NamedTuple):
    """What every process needs to build the programs of a case, which cannot be sent."""

    case: str
    data_name: str
    limit: int | None
    seed: int
    epochs: int
    learning_rate: float
    device: str


class Job(NamedTuple):
    """One run of one side's program, noise included."""

    setup: Setup
    side: str
    weights: Arrays
    inputs: Arrays
    dtype: str
    noise_run: int | None


def subjects(members: Gang, setup: Setup, pair: Pair) -> dict[str, Subject]:
    """Both sides' training programs as the gang runs them, by label."""

    def over_processes(side: str) -> Program:
        def program(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
            values: Values = members(Job(setup, side, weights, inputs, dtype, current_noise_run()))
            return values

        return program

    weights = {"torch": pair.weights, "jax": pair.candidate_weights}
    return {label(side, members.world): Subject(over_processes(side), weights[side]) for side in SIDES}


def label(side: str, world: int) -> str:
    """What a side is called when several processes run it.

    >>> label("torch", 2)
    'torch x 2 processes'
    """
    return f"{side} x {world} processes"


def join(member: Member, device: str = "cpu") -> Answer:
    """Join both frameworks' groups; to be called in every process of a gang.

    Args:
        member: which process this is.
        device: "cpu", or "cuda": then each process takes the GPU of its rank.
    """
    cuda = device == "cuda"
    if cuda:
        torch.cuda.set_device(member.rank)
    jaxnn.mesh.start(
        member.coordinator, member.world, member.rank, local_device_ids=[member.rank] if cuda else None
    )
    ranks = torchref.parallel.start(member.rank, member.world, meet=member.meet, device=device)
    torch.set_num_threads(max(1, torch.get_num_threads() // member.world))  # they share the cores
    mesh = jaxnn.mesh.make(jax.devices("gpu" if cuda else "cpu"))

    @functools.lru_cache(maxsize=1)
    def programs(setup: Setup) -> Mapping[str, Program]:
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
