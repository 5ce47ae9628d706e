"""What a run is at one moment: where it stands, what it learnt, what it has drawn; as tensors and JSON, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.data.types import Split
from idsnn_convert.runtime.distributed import ALONE, World
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.normalisation import Normalisation
from idsnn_convert.runtime.recipe import Recipe
from idsnn_convert.runtime.seal import digest
from idsnn_convert.runtime.updates import Updates

SUMS = 7


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: epochs done.
        batch: batches done of the next one.
        sums: over those batches' images: loss, cross-entropy, KL, ensemble, taps, right answers, images.
        train_seconds: spent on those batches.
        files: of the epochs done, the name of each file in the run folder and its SHA-256.
    """

    epoch: int = 0
    batch: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * SUMS)
    train_seconds: float = 0.0
    lr: float = 0.0
    best_top1: float = -1.0
    best_epoch: int = 0
    last_top1: float = 0.0
    best_ema_top1: float = -1.0
    best_ema_epoch: int = 0
    files: dict[str, str] = field(default_factory=dict)

    def finish_epoch(self, top1: float, ema_top1: float | None = None) -> None:
        """Moves to the next epoch; ``top1`` is this one's accuracy, the best one if none before was as high."""
        self.epoch, self.batch, self.sums, self.train_seconds = self.epoch + 1, 0, [0.0] * SUMS, 0.0
        self.last_top1 = top1
        if top1 > self.best_top1:
            self.best_top1, self.best_epoch = top1, self.epoch
        if ema_top1 is not None and ema_top1 > self.best_ema_top1:
            self.best_ema_top1, self.best_ema_epoch = ema_top1, self.epoch

    def forget_best(self, best: bool, ema: bool) -> None:
        """Where the best epoch's checkpoint was removed, the best of those to come is kept."""
        if not best:
            self.best_top1, self.best_epoch = -1.0, 0
        if not ema:
            self.best_ema_top1, self.best_ema_epoch = -1.0, 0


def identity(
    recipe: Recipe, dataset: str, train: Split, test_images: int, normalisation: Normalisation, teacher: nn.Module | None
) -> dict[str, Any]:
    """What a run was asked to do, JSON-native; a resumed one must be asked the same."""
    return {
        "recipe": recipe.to_json(),
        "dataset": dataset,
        "train_images": len(train),
        "images": train.form_told,
        "test_images": test_images,
        "normalisation": normalisation.to_json(),
        "teacher_sha256": None if teacher is None else digest(teacher.state_dict()),
    }


def check_same(folder: Path, facts: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuses to resume a run as another one. How often the state is written, and what describes the recipe, may differ.

    Raises:
        UserError: naming the first difference.
    """
    before, now = dict(flat("", facts.get("identity"))), dict(flat("", asked))
    free = ("recipe.run.save_minutes", "recipe.description")
    for key in dict.fromkeys((*now, *before)):
        if key not in free and before.get(key) != now.get(key):
            problem = f"{folder}: the run began with {key.removeprefix('recipe.')} = {before.get(key)!r}, not {now.get(key)!r}"
            raise UserError(problem, hint="Resume it as it began, or start a new run in another folder.")


def flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Nested objects as one row a leaf, ``recipe.optimizer.lr``, under the name ``key``."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(f"{key}.{name}" if key else name, inner)
    else:
        yield key, value


def snapshot(
    network: nn.Module, updates: Updates, at: Position, device: torch.device, world: World = ALONE
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The run's tensors, by name, and the rest as JSON-native values; each process's chance under its rank."""
    tensors, scale = updates.snapshot()
    tensors |= {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    drawn = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        drawn["cuda"] = torch.cuda.get_rng_state(device)
    for kind, state in drawn.items():
        tensors |= {f"random.{kind}.{rank}": one for rank, one in enumerate(world.gathered(state))}
    return tensors, {"position": asdict(at), "scale": scale}


def restore(
    folder: Path,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    network: nn.Module,
    updates: Updates,
    device: torch.device,
    rank: int = 0,
) -> Position:
    """Puts what :func:`snapshot` took back, the chance of process ``rank`` included, and gives the position.

    A process that was not there when it was taken goes on with the chance it has.

    Raises:
        UserError: if it was taken of another network.
    """
    own = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for name in sorted(own.keys() | {name for name in tensors if name.startswith("network.")}):
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape:
            problem = f"{folder} holds a run of another network: {name.removeprefix('network.')!r} differs"
            raise UserError(problem, hint="Resume it with the checkpoint it began with.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
    updates.restore(tensors, facts["scale"])
    if (state := tensors.get(f"random.cpu.{rank}")) is not None:
        torch.set_rng_state(state)
    if device.type == "cuda" and (state := tensors.get(f"random.cuda.{rank}")) is not None:
        torch.cuda.set_rng_state(state, device)
    return Position(**facts["position"])
