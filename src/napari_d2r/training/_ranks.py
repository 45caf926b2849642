"""Several processes that fit one network together, each with its part of every batch.

torchrun starts them and tells each its number, its rank. All draw the same batch from the same
random numbers, and each puts its own part through the network. Then the answers are put together,
so that every process computes the loss of the whole batch, whatever that loss is. Only its own
answers depend on its weights, so that the gradient of one process is the sum of those of all::

    dL/dw = sum_ranks dL/dy_rank dy_rank/dw

The step is that of one process with the whole batch, however unevenly it is shared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from napari_d2r.errors import InputError, TrainingError, is_out_of_memory
from napari_d2r.models import GlobalPool

# A process that ends is noticed at once; this is for one that hangs, or whose machine vanished.
_SILENT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among all that train; where it is alone, nothing is asked or told.

    Every method but `sharing` is called by all processes, or none of them goes on.

    Raises
    ------
    TrainingError
        By every method, where another process is gone.
    """

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and speaks to the user."""
        return self.index == 0

    def sharing(self, network: nn.Module) -> nn.Module:
        """The network, which is given whole batches and computes its part of them."""
        return network if self.count == 1 else _Sharing(network, self)

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            self._reduce(tensor, dist.ReduceOp.SUM)
        return tensor

    def add_up_gradients(self, parameters: list[nn.Parameter]) -> None:
        """What the parts of the batch give, in one message."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count > 1 and gradients:
            total = self.add_up(torch.cat([g.flatten() for g in gradients]))
            parts = total.split([g.numel() for g in gradients])
            torch._foreach_copy_(
                gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)]
            )

    def most(self, *values: float) -> tuple[float, ...]:
        """The largest of each value, and so the same for all."""
        if self.count == 1:
            return values
        largest = torch.tensor(values, dtype=torch.float64)
        self._reduce(largest, dist.ReduceOp.MAX)
        return tuple(largest.tolist())

    def require_same(self, value: int, what: str) -> None:
        """Refuse to go on where processes do not see the same.

        Raises
        ------
        TrainingError
            Where ``value``, less than 2^53, differs.
        """
        highest, lowest = self.most(value, -value)
        if highest != -lowest:
            raise TrainingError(
                f"The processes of this training do not see the same {what}; give all of them the "
                "same command, and folders that all machines see."
            )

    def _reduce(self, tensor: Tensor, how: Any) -> None:
        try:
            dist.all_reduce(tensor, how)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise TrainingError(
                "Another process of this training ended or cannot be reached; see what it said, "
                "and go on from the last checkpoint with --resume."
            ) from error


ALONE = Ranks()


class _Sharing(nn.Module):
    """Puts its part of a batch through a network and answers the whole batch."""

    def __init__(self, network: nn.Module, ranks: Ranks) -> None:
        super().__init__()
        self.network, self.ranks = network, ranks
        for module in network.modules():
            if isinstance(module, GlobalPool):
                module.add_up = ranks.add_up

    def forward(self, *given: Tensor) -> Tensor:
        """Tensors with as many entries as the first are shared; others are of all examples."""
        size, (index, count) = len(given[0]), (self.ranks.index, self.ranks.count)
        mine = slice(size * index // count, size * (index + 1) // count)
        answer: Tensor = self.network(
            *(one[mine] if one.ndim and len(one) == size else one for one in given)
        )
        whole = answer.new_zeros((size, *answer.shape[1:]))
        whole[mine] = answer.detach()
        self.ranks.add_up(whole)
        whole[mine] = answer  # the same once more, with its gradient
        return whole


def ranks_told() -> Ranks:
    """Which of the processes that torchrun began is this one; `ALONE` without it."""
    count = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    return Ranks(int(os.environ["RANK"]), count) if count > 1 else ALONE


def device_of_rank(device: torch.device) -> torch.device:
    """The device of this process: of several GPUs, the one that torchrun gave it.

    Raises
    ------
    InputError
        Where there are more processes than GPUs, or a device cannot be shared.
    """
    if ranks_told().count == 1 or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise InputError(
            f"Several processes train on cpu or cuda, not on {device.type}; use --device cpu."
        )
    own, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if own >= there:
        raise InputError(
            f"This machine has {there} GPUs and more processes; start torchrun with "
            f"--nproc-per-node {there}."
        )
    return torch.device("cuda", own)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes that torchrun began; returns when all are there.

    Raises
    ------
    TrainingError
        Where they do not find each other.
    """
    ranks = ranks_told()
    if ranks.count == 1:
        yield ranks
        return
    # Its functions keep the group that there is when it is imported, as optimizers do: then
    # the threads of that group outlive it, and now and then abort the process at its end.
    import_module("torch.distributed.nn")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=_SILENT)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"The {ranks.count} processes of this training did not find each other; see what the "
            "others said, and begin all of them with torchrun."
        ) from error
    try:
        ranks.most(0)
        yield ranks
    finally:
        dist.destroy_process_group()
