"""A run's metrics for TensorBoard, beside metrics.jsonl, which always is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.trainer import Watcher

BY_NAME = {
    "train_loss": "loss/train",
    "train_ce": "loss/train_ce",
    "train_kl": "loss/train_kl",
    "test_loss": "loss/test",
    "ema_test_loss": "loss/test_ema",
    "train_top1_percent": "top1_percent/train",
    "test_top1_percent": "top1_percent/test",
    "ema_test_top1_percent": "top1_percent/test_ema",
    "lr": "lr",
    "train_images_per_second": "speed/train_images_per_second",
}
"""Key of a line in metrics.jsonl -> the curve it belongs to; its x is the epoch, counted from 1."""


class Board:
    """Watches a run for another watcher, and writes event files into ``folder``, which is made at the first epoch's end.

    Raises:
        UserError: if TensorBoard is not installed.
    """

    def __init__(self, folder: Path, watcher: Watcher) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            hint = 'Install it with pip install "idsnn-convert[track]", or leave --tensorboard out.'
            raise UserError("--tensorboard needs the package tensorboard, which is not installed", hint=hint) from error
        self._make: Any = SummaryWriter  # it tells no types
        self._folder = folder
        self._writer: Any = None
        self._watcher = watcher

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def batch(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None:
        self._watcher.batch(epoch, epochs, batch, batches, loss)

    def epoch(self, record: Mapping[str, Any]) -> None:
        self._watcher.epoch(record)
        self._writer = self._writer or self._make(str(self._folder))
        for key, curve in BY_NAME.items():
            if key in record:
                self._writer.add_scalar(curve, record[key], record["epoch"])
        self._writer.flush()
