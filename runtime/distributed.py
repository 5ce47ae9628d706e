"""Several processes that train one network: what each is, and the few things they tell each other.

Every process holds the whole network and takes its share of each batch. torchrun starts them and tells each its place
in environment variables; NCCL carries tensors on GPUs, Gloo those on CPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch import distributed as dist

from idsnn_convert.runtime.errors import UserError

if TYPE_CHECKING:
    from idsnn_convert.runtime.data.types import Split

PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells a process."""

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others before it takes them for lost."""


class Lost(UserError):  # noqa: N818 - said of a process
    """Another process of the run does not answer."""


@dataclass(frozen=True)
class World:
    """This process among the ``size`` of its run; ``rank`` counts from 0. Alone, all that is told comes straight back.

    Every method but the properties must be called by all processes, in the same order; each raises :class:`Lost` if
    one is gone.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes files and reports."""
        return self.rank == 0

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over the processes; the same bits in each."""
        return self._reduced(tensor, dist.ReduceOp.SUM)

    def largest(self, *numbers: float) -> list[float]:
        """Each number's largest value among the processes."""
        together: list[float] = self._reduced(torch.tensor(numbers, dtype=torch.float64), dist.ReduceOp.MAX).tolist()
        return together

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes.

        All travel as one vector, always in the same order: a sum of more than two numbers depends on the order, and a
        resumed run must find the same bits.
        """
        found = list(tensors)
        if self.size == 1 or not found:
            return
        sums = self.total(torch.cat([tensor.reshape(-1) for tensor in found]))
        for tensor, part in zip(found, sums.split([tensor.numel() for tensor in found]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """Everyone's tensor, by rank; all of one shape."""
        if self.size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._together():
            dist.all_gather(found, tensor)
        return found

    def wait(self) -> None:
        """Until every process is here."""
        self.largest(0)

    def share(self, split: Split) -> Split:
        """This process's part of ``split``: every ``size``-th image, from its rank on."""
        return split if self.size == 1 else split.chosen(torch.arange(self.rank, len(split), self.size))

    def _reduced(self, tensor: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        if self.size == 1:
            return tensor
        tensor = tensor.clone()
        with self._together():
            dist.all_reduce(tensor, how)
        return tensor

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # how torch tells that a connection is closed
            reason = str(error).strip().splitlines()[0].partition(". ")[0]
            raise Lost(f"process {self.rank} of {self.size} lost another one: {reason}") from error


ALONE = World()


def started_together() -> bool:
    """Whether torchrun started this process."""
    return all(name in os.environ for name in PLACE)


def leads() -> bool:
    """Whether this process is the one that reports, before any other was spoken to."""
    return not started_together() or int(os.environ["RANK"]) == 0


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process where several share a machine and none was named by number."""
    if device == torch.device("cuda") and started_together():
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """The processes that torchrun started together, connected; this one alone if it was not torchrun.

    Raises:
        UserError: if they do not find each other.
    """
    if not started_together():
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes do not find each other: {error}", hint="See torchrun --help.") from error
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
