"""A training run small enough to be repeated often: four kinds of 8x8 images and a network of two blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.checkpoint import Checkpoint, read
from idsnn_convert.runtime.checkpoint import save as save_checkpoint
from idsnn_convert.runtime.data.types import Dataset, Split
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork, build
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.recipe import Recipe, load_recipe
from idsnn_convert.runtime.trainer import TrainResult, train
from tests import graphs

CLASSES, STEPS = 4, 3
GRAPH = graphs.spiking(classes=CLASSES)
EPOCHS, BATCHES = 3, 4  # of the default run: 100 images in batches of 32


def split(count: int, seed: int) -> Split:
    """Noise, and a bright stripe whose place and colour tell the class."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=draw)
    images = torch.randint(80, (count, 3, 8, 8), generator=draw)
    for kind in range(CLASSES):
        images[labels == kind, kind % 3, 2 * (kind // 3) :: 2] += 150
    return Split(images.to(torch.uint8), labels, CLASSES)


SPLITS = {"train": split(100, 0), "test": split(80, 1)}
DATA = Dataset("stripes", CLASSES, (), Path(), SPLITS.__getitem__)


def recipe(*overrides: str) -> Recipe:
    small = [f"run.epochs={EPOCHS}", "run.batch_size=32", "loss.alpha=0", "augment.crop_padding=1", "augment.flip=false"]
    return load_recipe("idsnn", [*small, *overrides])


def network(encoder: str = "direct") -> SpikingNetwork:
    return SpikingNetwork(GRAPH, fresh_tensors(GRAPH, seed=0), STEPS, encoder)


def ann(classes: int = CLASSES) -> nn.Module:
    """A teacher."""
    graph = graphs.ann(classes=classes)
    return build(graph, fresh_tensors(graph, seed=1))


def save(trained: nn.Module, path: Path, training: dict[str, Any]) -> None:
    assert isinstance(trained, SpikingNetwork)
    save_checkpoint(path, Checkpoint(GRAPH, trained.tensors(), STEPS, training=training))


def run(
    folder: Path, overrides: Sequence[str] = (), trained: nn.Module | None = None, data: Dataset = DATA, **more: Any
) -> TrainResult:
    given = {"normalisation": KNOWN["half"], "save": save, **more}
    return train(network() if trained is None else trained, data, recipe(*overrides), folder, **given)


def metrics(folder: Path, *without: str) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without some of their fields."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in without} for line in lines]


TIMES = ("train_seconds", "train_images_per_second", "test_seconds", "teacher_cached_percent")
"""What may differ between two runs that are the same."""


def same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


class At:
    """A watcher that does something after one batch, or after one epoch."""

    def __init__(self, epoch: int, batch: int | None, action: Callable[[], None]) -> None:
        self.moment, self.action = (epoch, batch), action

    def batch(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None:
        if (epoch, batch) == self.moment:
            self.action()

    def epoch(self, record: Any) -> None:
        if (record["epoch"], None) == self.moment:
            self.action()


class Log:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int, int, int]] = []
        self.losses: list[float] = []
        self.records: list[Any] = []

    def batch(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None:
        self.batches.append((epoch, epochs, batch, batches))
        self.losses.append(loss)

    def epoch(self, record: Any) -> None:
        self.records.append(record)


class Killed(Exception):  # noqa: N818 - stands for the end of a process
    pass


def killed() -> None:
    raise Killed


def assert_same_run(folder: Path, other: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        assert (folder / name).read_bytes() == (other / name).read_bytes() or differ_in_times_alone(folder / name, other / name)
    assert metrics(folder, *TIMES) == metrics(other, *TIMES)


def differ_in_times_alone(path: Path, other: Path) -> bool:
    one, two = read(path), read(other)
    records = [{k: v for k, v in found.training["metrics"].items() if k not in TIMES} for found in (one, two)]
    return same_tensors(one.tensors, two.tensors) and records[0] == records[1]
