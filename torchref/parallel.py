"""Data-parallel training: every process takes its share of each batch, `torch.distributed` sums up.

The parameters are the same in all processes. Each computes the gradients of its own rows;
`DistributedDataParallel` averages them before the update.
"""

import datetime
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

TIMEOUT_S = 600
"""Seconds that a process waits for another that is alive; one that has died is noticed at once."""


class Ranks(NamedTuple):
    """The processes that train together; one process alone is the default everywhere.

    Attributes:
        rank: which one this is, 0 <= rank < world.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    def network(
        self, forward: Callable[..., Tensor], parameters: Mapping[str, Tensor]
    ) -> Callable[..., Tensor]:
        """`forward`, its gradients averaged over all processes.

        Args:
            forward: a module, or a function of a batch that uses `parameters`.
            parameters: its tensors; for a function of more than one process `nn.Parameter`s.

        Raises:
            ValueError: if a parameter of a function is no `nn.Parameter`.
        """
        if self.world == 1:
            return forward
        module = forward if isinstance(forward, nn.Module) else _AsModule(forward, parameters)
        averaged: Callable[..., Tensor] = DistributedDataParallel(module)
        return averaged

    def own(self, rows: Shaped[Tensor, "N *rest"]) -> Shaped[Tensor, "M *rest"]:
        """This process's rows of a batch: shares differ by one row at most, and may be empty.

        >>> Ranks(1, 2).own(torch.arange(5)).tolist()
        [3, 4]
        """
        return rows.tensor_split(self.world)[self.rank] if self.world > 1 else rows

    def weighted(self, value: Float[Tensor, ""], num_own: int, num_rows: int) -> Float[Tensor, ""]:
        """The loss of the own rows, weighted so that its gradients' AVERAGE over processes is right.

        A batch of 43 rows on two processes is dealt out as 22 and 21: the average of both means is not the
        mean of all rows. Weighted by the share of rows, times the number of processes, it is.

        Args:
            value: a mean over the own rows.
            num_own: how many these are.
            num_rows: how many the batch has.
        """
        return value if self.world == 1 else value * (num_own * self.world / num_rows)

    def mean(self, weighted: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean over the whole batch, from every process's `weighted` loss."""
        if self.world == 1:
            return weighted
        total = weighted.clone()
        dist.all_reduce(total)
        return total / self.world

    def whole(self, own: Shaped[Tensor, "M *rest"], num_rows: int) -> Shaped[Tensor, "N *rest"]:
        """All rows of a batch, from every process's own ones.

        Args:
            own: as `own` deals them out.
            num_rows: how many the batch has.
        """
        if self.world == 1:
            return own
        most = -(-num_rows // self.world)  # gloo gathers equal shapes only: short shares are filled up
        filled = torch.cat([own, own.new_zeros(most - len(own), *own.shape[1:])])
        gathered = [torch.empty_like(filled) for _ in range(self.world)]
        dist.all_gather(gathered, filled)
        sizes = [len(share) for share in torch.empty(num_rows).tensor_split(self.world)]
        return torch.cat([rows[:size] for rows, size in zip(gathered, sizes, strict=True)])


def start(
    rank: int | None = None,
    world: int | None = None,
    *,
    meet: str = "env://",
    device: torch.device | str = "cpu",
    timeout_s: float = TIMEOUT_S,
) -> Ranks:
    """Join this process to the others of a run.

    Under `torchrun` no argument is needed: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say all. On GPUs
    communication is NCCL's, and the caller chooses the process's own (`torch.cuda.set_device`); elsewhere it
    is gloo's.

    Args:
        rank: which process this is, from 0; `None` for RANK.
        world: how many there are; `None` for WORLD_SIZE.
        meet: where they meet, such as "tcp://10.0.0.1:29500" or "file:///shared/folder/new-file".
        device: "cpu" or "cuda".
        timeout_s: how long to wait for a process that is alive and does not answer.

    Returns:
        Which process this is, for `fit`.

    Raises:
        ValueError: if a variable is missing; PyTorch's message names it.

    Differs:
        `jaxnn.mesh.start` finds the variables of Slurm and Open MPI; PyTorch reads those above.
    """
    dist.init_process_group(
        "nccl" if torch.device(device).type == "cuda" else "gloo",
        init_method=meet,
        timeout=datetime.timedelta(seconds=timeout_s),
        rank=-1 if rank is None else rank,
        world_size=-1 if world is None else world,
    )
    return Ranks(dist.get_rank(), dist.get_world_size())


class _AsModule(nn.Module):
    """A function and its parameters as a module, which is what DistributedDataParallel takes."""

    def __init__(self, forward: Callable[..., Tensor], parameters: Mapping[str, Tensor]):
        super().__init__()
        self._forward = forward
        for name, parameter in parameters.items():
            if not isinstance(parameter, nn.Parameter):
                raise ValueError(
                    f"`parameters` has {name!r} as a plain tensor: with several processes `forward` must be "
                    f"a module, or its tensors must be nn.Parameters."
                )
            self.register_parameter(name.replace(".", "/"), parameter)

    def forward(self, x: Tensor, **draws: Tensor) -> Tensor:
        return self._forward(x, **draws)
