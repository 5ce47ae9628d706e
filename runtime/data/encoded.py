"""Image files that are decoded once into memory, or, where they would not fit, again and again ahead of the training.

Letters: N images, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from idsnn_convert.runtime.data.decode import Form, decode, measure
from idsnn_convert.runtime.data.types import Reading, Split, Wanted
from idsnn_convert.runtime.errors import UserError

LOOKED_AT = 32
"""Images that tell channels and size where nobody said them."""

AHEAD = 3
"""Batches that are decoded while one is trained on."""

CHUNK = 256
"""Images decoded at a time into memory."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Labelled images as they are stored.

    Attributes:
        names: what to call each, for messages.
        read: the bytes of the image of this number; called by several threads at once.
        labels: int64 (N,).
    """

    names: Sequence[str]
    read: Callable[[int], bytes]
    labels: Tensor
    classes: int


def read_split(images: Encoded, reading: Reading) -> Split:
    """The images, in memory if they fit into ``reading.memory`` bytes once decoded, else a :class:`StreamedSplit`.

    Raises:
        UserError: if an image is damaged or of another size or kind than the others, naming it.
    """
    form = _form(images, reading)
    split = StreamedSplit(images, form, reading.workers or len(os.sched_getaffinity(0)), torch.arange(len(images.names)))
    whole = len(split) * form.channels * form.size**2
    return split if whole > reading.memory else Split(split.images, split.labels, split.classes)


def _form(images: Encoded, reading: Reading) -> Form:
    """As asked; else what some of the images have in common."""
    count = len(images.names)
    rows = sorted({k * (count - 1) // max(1, LOOKED_AT - 1) for k in range(LOOKED_AT)}) if count else []
    seen = [(measure(images.read(row), images.names[row]), row) for row in rows]
    channels = reading.channels or (3 if any(coloured for (coloured, _, _), _ in seen) else 1)
    size = reading.image_size
    if size is None:
        (_, size, width), first = seen[0]
        for (_, high, wide), row in seen:
            if (high, wide) != (size, size):
                told = f"{images.names[first]} has {width}x{size} pixels, {images.names[row]} {wide}x{high}"
                raise UserError(f"images must be square and of one size: {told}", hint="Resize them: --image-size PIXELS.")
    return Form(channels, size, resize=reading.image_size is not None, convert=reading.channels is not None)


class StreamedSplit(Split):
    """A split whose images are decoded when they are wanted, by threads (Pillow decodes outside Python's lock).

    The images do not depend on how many threads there are. ``images`` decodes all of them.
    """

    def __init__(self, source: Encoded, form: Form, workers: int, rows: Tensor, device: torch.device | str = "cpu") -> None:
        self.source, self.form, self.workers, self.rows, self.device = source, form, workers, rows.cpu(), device
        self.labels, self.classes = source.labels[self.rows].to(device), source.classes

    @property
    def images(self) -> Tensor:
        made = torch.empty(len(self), *self.form.shape, dtype=torch.uint8, device=self.device)
        rows = torch.arange(len(self)).split(CHUNK)
        for batch, images in zip(rows, self.gather((batch, None) for batch in rows), strict=True):
            made[batch[0] : batch[-1] + 1] = images
        return made

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.form.shape

    @property
    def form_told(self) -> str:
        return f"{super().form_told}, from files"  # resized crops come from what is stored there

    def chosen(self, rows: Tensor) -> Split:
        return StreamedSplit(self.source, self.form, self.workers, self.rows[rows.cpu()], self.device)

    def to(self, device: torch.device | str) -> Split:
        return StreamedSplit(self.source, self.form, self.workers, self.rows, device)

    def gather(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        todo, ahead = iter(wanted), deque[list[Future[np.ndarray]]]()
        with ThreadPoolExecutor(self.workers, "decode") as pool:
            try:
                while True:
                    while len(ahead) <= AHEAD and (batch := next(todo, None)) is not None:
                        ahead.append(self._begun(pool, *batch))
                    if not ahead:
                        return
                    yield torch.from_numpy(np.stack([image.result() for image in ahead.popleft()])).to(self.device)
            finally:
                pool.shutdown(cancel_futures=True)

    def _begun(self, pool: ThreadPoolExecutor, rows: Tensor, frames: Tensor | None) -> list[Future[np.ndarray]]:
        framed: Iterable[Tensor | None] = [None] * len(rows) if frames is None else frames
        chosen = zip(self.rows[rows].tolist(), framed, strict=True)
        return [pool.submit(self._decoded, row, frame) for row, frame in chosen]

    def _decoded(self, row: int, frame: Tensor | None) -> np.ndarray:
        # What is framed is resized from whatever size it has.
        form = self.form if frame is None else replace(self.form, resize=True)
        return decode(self.source.read(row), self.source.names[row], form, frame)
