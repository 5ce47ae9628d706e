"""What a finished run of a study left in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.files import write_text
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.study.plan import Job

FINAL = "final.json"


@dataclass(frozen=True)
class Outcome:
    """One run's figures; accuracies in percent, losses in nats.

    Attributes:
        curve: top-1 of the test images that are evaluated after each epoch, (epochs,).
        train_ce: mean cross-entropy of the epoch's training batches, (epochs,).
        final: top-1 of the last network on all test images, of which there are ``images``; None where it was not measured.
        seconds: spent training and evaluating.
    """

    arm: str
    schedule: str
    seed: int
    curve: tuple[float, ...]
    train_ce: tuple[float, ...]
    final: float | None
    images: int | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON-native."""
        return {**asdict(self), "curve": list(self.curve), "train_ce": list(self.train_ce)}


def records(run: Path) -> list[dict[str, Any]]:
    """The finished epochs of the run in a folder, one record each; none if it has not begun.

    Raises:
        UserError: if its metrics cannot be read.
    """
    metrics = RunFolder(run).metrics
    try:
        return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()] if metrics.exists() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{metrics} cannot be read: {error}", hint=f"Remove {run}; its run is then made anew.") from error


def final(run: Path) -> dict[str, Any] | None:
    """What :func:`write_final` kept; None if it has not."""
    place = run / FINAL
    return dict(json.loads(place.read_text(encoding="utf-8"))) if place.exists() else None


def write_final(run: Path, found: Evaluation) -> None:
    """Keeps the last network's accuracy beside the run."""
    write_text(run / FINAL, json.dumps({"top1_percent": found.top1, "test_images": found.images}) + "\n")


def outcome(run: Path, job: Job) -> Outcome:
    """The figures of the finished ``job`` in the folder ``run``.

    Raises:
        UserError: if they cannot be read.
    """
    lines = records(run)
    try:
        last = final(run) or {"top1_percent": None, "test_images": None}
        return Outcome(
            job.arm,
            job.schedule,
            job.seed,
            curve=tuple(line["test_top1_percent"] for line in lines),
            train_ce=tuple(line["train_ce"] for line in lines),
            final=last["top1_percent"],
            images=last["test_images"],
            seconds=sum(line["train_seconds"] + line["test_seconds"] for line in lines),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run}: the run's figures cannot be read: {error}", hint=f"Remove {run}; it is made anew.") from error
