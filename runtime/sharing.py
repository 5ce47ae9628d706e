"""How the work of a run is cut among its processes, and what they found put together."""

from __future__ import annotations

from dataclasses import replace

import torch

from idsnn_convert.runtime.data.batches import batch_count
from idsnn_convert.runtime.distributed import World
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation


def check_shares(world: World, batch_size: int, train_images: int, test_images: int) -> None:
    """Whether every process has an image of every batch, so that none waits for one that has nothing to do.

    Raises:
        UserError: if not.
    """
    last = train_images - (batch_count(train_images, batch_size) - 1) * batch_size
    least = min(batch_size, last, test_images)
    if least < world.size:
        what = f"run.batch_size is {batch_size}" if least == batch_size else f"the smallest batch has {least} images"
        raise UserError(f"{what}: too few for {world.size} processes", hint="Use fewer processes or another run.batch_size.")


def pooled(own: Evaluation, world: World) -> Evaluation:
    """The evaluation of a whole split from that of each process's share; the seconds are the slowest's."""
    if world.size == 1:
        return own
    known = [own.top1, own.loss, own.top5 or 0.0, *own.top1_per_step, *own.top5_per_step]
    means = torch.tensor(known, dtype=torch.float64)
    *sums, images = world.total(torch.cat([means * own.images, means.new_tensor([own.images])])).tolist()
    top1, loss, top5, *steps = (value / images for value in sums)
    (seconds,) = world.largest(own.seconds)
    pooled = replace(own, top1=top1, loss=loss, images=int(images), seconds=seconds)
    count = len(own.top1_per_step)
    first, fifth = tuple(steps[:count]), tuple(steps[count:])
    return replace(pooled, top5=None if own.top5 is None else top5, top1_per_step=first, top5_per_step=fifth)
