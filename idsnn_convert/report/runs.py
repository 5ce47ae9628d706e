"""Training runs, as their folders tell them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from idsnn_convert.report.chart import Level
from idsnn_convert.report.probed import Probed, read_probed
from idsnn_convert.runtime.ann_file import is_ann_file, read_ann
from idsnn_convert.runtime.bounds import parsed_json
from idsnn_convert.runtime.checkpoint import is_checkpoint, read
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.toml_file import read_toml

Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]


class Epoch(BaseModel):
    """One line of ``metrics.jsonl``: losses in nats; see :mod:`idsnn_convert.runtime.trainer`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    epoch: int
    lr: float
    train_loss: float
    train_top1_percent: Percent
    test_loss: float
    test_top1_percent: Percent
    test_top1_percent_per_step: list[Percent] = []
    test_firing_rates: dict[str, Share] = {}
    train_seconds: float
    test_seconds: float


@dataclass(frozen=True)
class Run:
    """A run with at least one finished epoch.

    Attributes:
        settings: ``section.key`` -> value, as in its ``recipe.toml``.
        facts: what its last checkpoint says of the data it was trained on; empty if it has none.
        versions: of the packages that converted its student.
        command: the one that converted it, if it was one.
        probed: what was measured of its best network, if it was.
    """

    name: str
    epochs: tuple[Epoch, ...]
    settings: dict[str, Any]
    facts: dict[str, Any]
    versions: dict[str, str]
    command: str | None = None
    probed: Probed | None = None

    @property
    def best(self) -> Epoch:
        """The first epoch of the highest accuracy."""
        return max(self.epochs, key=lambda epoch: epoch.test_top1_percent)

    @property
    def last(self) -> Epoch:
        return self.epochs[-1]

    @property
    def seconds(self) -> float:
        return sum(epoch.train_seconds + epoch.test_seconds for epoch in self.epochs)


def read_runs(folders: list[Path]) -> list[Run]:
    """The runs in ``folders``, called by as much of their paths as tells them apart; one may still be running.

    Raises:
        UserError: if a folder holds no run, none of its epochs is finished, or a file in it is damaged.
    """
    paths = [folder.absolute() for folder in folders]
    depth = next((n for n in (1, 2, 3) if len({path.parts[-n:] for path in paths}) == len(paths)), 0)
    if not depth:
        raise UserError(f"a run is named twice: {', '.join(map(str, folders))}")
    return [_read(folder, "/".join(path.parts[-depth:])) for folder, path in zip(folders, paths, strict=True)]


def read_baseline(text: str) -> Level:
    """The accuracy that ``--baseline`` names: percent, or the best of the run in a folder.

    Raises:
        UserError: if it is neither.
    """
    try:
        percent = float(text)
    except ValueError:
        (run,) = read_runs([Path(text)])
        return Level(run.name, run.best.test_top1_percent)
    if not 0 <= percent <= 100:
        raise UserError(f"--baseline {text}: an accuracy is from 0 to 100 percent")
    return Level("baseline", percent)


def _read(path: Path, name: str) -> Run:
    folder = RunFolder(path)
    if not folder.metrics.is_file():
        raise UserError(
            f"{path} holds no run: {folder.metrics.name} is missing", hint="idsnn train --out RUN makes such folders."
        )
    epochs = tuple(_epochs(folder.metrics))
    if not epochs:
        raise UserError(f"{path}: no epoch of the run is finished yet")
    facts, made = _origin(folder.last)
    settings, command = _settings(folder.path / "recipe.toml"), made.get("command")
    return Run(name, epochs, settings, facts, dict(made.get("versions", {})), command, read_probed(path))


def _origin(last: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the last checkpoint, a student's or a teacher's, says of its training and how it began; empty if there is none."""
    if is_checkpoint(last):
        student = read(last)
        return dict(student.training), dict(student.provenance)
    return (dict(read_ann(last).training), {}) if is_ann_file(last) else ({}, {})


def _epochs(path: Path) -> list[Epoch]:
    """The finished lines: one that is being written has no end yet."""
    found = []
    lines = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0].splitlines()
    for number, line in enumerate(lines, 1):
        try:
            found.append(Epoch.model_validate(parsed_json(line)))
        except ValidationError as error:
            wrong = error.errors()[0]
            told = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
            raise UserError(f"{path}, line {number}, is no epoch's record: {told}") from error
        except ValueError as error:
            raise UserError(f"{path}, line {number}, is no JSON: {error}") from error
    return found


def _settings(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    sections = read_toml(path)
    found: dict[str, Any] = {}
    for section, value in sections.items():
        found |= {f"{section}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {section: value}
    return found
