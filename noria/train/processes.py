"""Several processes that train one model: each computes a part of every step, and all of them move the same weights in the same way.

In: what `torchrun`, `accelerate launch` and Ray Train leave in the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT). Out: the
part of this process. A step is parted by its micro-batches, whose losses are sums, so several processes give the curve of one.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed
from torch.distributed.tensor import DTensor

Item = TypeVar("Item")
BUCKET_BYTES = 32 << 20
"""Gradients that are summed over the processes in one message."""
PATIENCE = timedelta(hours=24)
"""The others wait so long while the first process reads the corpus."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """What of these is this process' work."""
        return items[self.rank :: self.count]

    def agreed(self, value: float) -> float:
        """The first process' value: what is measured by the clock differs between them, and what follows from it must not."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=training_device())
        distributed.broadcast(shared, 0)
        return float(shared.item())

    def summed(self, value: float) -> float:
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=training_device())
        distributed.all_reduce(shared)
        return float(shared.item())

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Make every process' gradients the sum of all. A parameter without one, where this process had no work, counts as zero."""
        if self.count == 1:
            return
        bucket: list[torch.Tensor] = []
        for parameter in parameters:
            if isinstance(parameter, DTensor):
                continue  # parted over the processes: summed on the way back
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            if sum(g.nbytes for g in bucket) >= BUCKET_BYTES:
                _sum(bucket)
                bucket = []
        _sum(bucket)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            distributed.barrier()


def is_first() -> bool:
    """Whether this process is the one that speaks, before or after it trained."""
    return os.environ.get("RANK", "0") == "0"


def join_processes() -> Processes:
    """Take this process' place among those that were started together; alone without them."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    if torch.cuda.is_available():
        torch.cuda.set_device(training_device())
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return Processes(rank=distributed.get_rank(), count=count)


def _sum(gradients: Sequence[torch.Tensor]) -> None:
    if not gradients:
        return
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()


def training_device() -> torch.device:
    """This process' graphics card, where there is one, else the processor."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else torch.device("cpu")
