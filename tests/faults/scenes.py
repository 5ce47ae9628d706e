"""What is killed: a conversion and a training run, and how to tell whether what they leave is right."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

from idsnn_convert.cli import main
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.seal import digest
from tests.faults.processes import operations, run
from tests.idsnn_convert import files
from tests.runtime import toy


class Scene(Protocol):
    """Work that may be killed at any moment and done again.

    Attributes:
        whole: the folder of the undisturbed work.
        seconds, operations: what that took.
    """

    name: str
    whole: Path
    seconds: float
    operations: int

    def begin(self, folder: Path, chance: random.Random) -> None:
        """Puts into the empty ``folder`` what may be there before."""

    def work(self, folder: Path) -> Callable[[], object]:
        """The command a user would give, again after it was killed."""

    def wrong(self, folder: Path) -> Iterator[str]:
        """What can be read in ``folder`` after a kill and is not right."""

    def unequal(self, folder: Path) -> Iterator[str]:
        """In what the finished work differs from the undisturbed one."""

    def leftovers(self, folder: Path) -> list[str]:
        """What is in ``folder`` after the finished work that the undisturbed one did not leave."""


def listed(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


class Conversion:
    """``idsnn convert`` with two reports, into a folder where those of another seed may be."""

    name = "conversion"

    def __init__(self, home: Path) -> None:
        self.teacher = files.teacher(home / "tiny.th", files.PADDED)
        self.log = home / "conversion.log"
        self.whole, other = home / "whole", home / "other"
        for folder in (self.whole, other):
            folder.mkdir()
        self.seconds = run(self._command(other, seed=1), self.log).seconds
        self.operations = operations(self.work(self.whole), self.log)
        self.new, self.old = self._read(self.whole), self._read(other)
        assert len(self.new) == len(self.old) == 3, self.log.read_text()

    def _command(self, folder: Path, seed: int) -> Callable[[], object]:
        outputs = ("-o", "student.safetensors", "--report", "page.html", "--report", "record.json")
        command = ["convert", str(self.teacher), *files.TINY, "--seed", str(seed), *outputs]

        def work() -> None:
            os.chdir(folder)
            main(command, prog_name="idsnn")

        return work

    def _read(self, folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def begin(self, folder: Path, chance: random.Random) -> None:
        if chance.random() < 0.5:
            for name, content in self.old.items():
                (folder / name).write_bytes(content)

    def work(self, folder: Path) -> Callable[[], object]:
        return self._command(folder, 0)

    def wrong(self, folder: Path) -> Iterator[str]:
        for name, content in self._read(folder).items():
            if content not in (self.new.get(name), self.old.get(name)):
                yield name

    def unequal(self, folder: Path) -> Iterator[str]:
        found = self._read(folder)
        yield from (name for name, content in self.new.items() if found.get(name) != content)

    def leftovers(self, folder: Path) -> list[str]:
        return sorted(listed(folder) - self.new.keys())


SETTINGS = ["run.epochs=2", "optimizer.name=adam", "optimizer.lr=0.01", "run.accumulate=2", "run.ema_decay=0.9"]
OFTEN, SELDOM = "run.save_minutes=1e-9", "run.save_minutes=10"


class Training:
    """A run with momenta, chance, a moving average; its state is written after every batch, or after every epoch."""

    name = "training"

    def __init__(self, home: Path) -> None:
        self.log, self.whole, self.often = home / "training.log", home / "whole", True
        known, began = home / "known.json", time.monotonic()
        self.operations = operations(lambda: self._remembered(known), self.log)
        self.seconds = time.monotonic() - began
        assert known.exists(), self.log.read_text()
        found = json.loads(known.read_text())
        self.states: dict[str, str] = found["states"]
        self.checkpoints: dict[str, str] = found["checkpoints"]
        self.metrics = toy.metrics(self.whole, *toy.TIMES)

    def _remembered(self, known: Path) -> None:
        """The undisturbed run, the digest of every state and checkpoint that it ever writes noted."""
        states: dict[str, str] = {}
        checkpoints: dict[str, str] = {}
        write = RunFolder.write_state

        def write_state(place: RunFolder, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
            states[_moment(facts)] = digest(tensors)
            for name in ("last", "last_ema"):
                path = place.next.path / f"{name}.safetensors"
                if path.exists():
                    checkpoints[f"{name} {facts['position']['epoch']}"] = digest(read(path).tensors)
            write(place, tensors, facts)

        with patch.object(RunFolder, "write_state", write_state):
            self.work(self.whole)()
        known.write_text(json.dumps({"states": states, "checkpoints": checkpoints}))

    def begin(self, folder: Path, chance: random.Random) -> None:
        self.often = chance.random() < 0.5

    def work(self, folder: Path) -> Callable[[], object]:
        settings = [*SETTINGS, OFTEN if self.often else SELDOM]
        return lambda: toy.run(folder, settings, resume=RunFolder(folder).state.exists())

    def wrong(self, folder: Path) -> Iterator[str]:
        place = RunFolder(folder)
        if (folder / "recipe.toml").exists():
            tomllib.loads((folder / "recipe.toml").read_text())
        for path in (place.last, place.best, place.last_ema, place.best_ema):
            if path.exists():
                found = read(path)
                kind = path.stem.replace("best", "last")  # the best is the last of its epoch
                if digest(found.tensors) != self.checkpoints[f"{kind} {found.training['metrics']['epoch']}"]:
                    yield path.name
        if place.metrics.exists():
            lines = toy.metrics(folder, *toy.TIMES)
            if lines != self.metrics[: len(lines)]:
                yield place.metrics.name
        if place.state.exists():
            tensors, facts = place.read_state()
            if digest(tensors) != self.states[_moment(facts)]:
                yield place.state.name
            yield from (f"{name} is of another epoch than the state" for name in _other(place, facts))

    def unequal(self, folder: Path) -> Iterator[str]:
        try:
            toy.assert_same_run(folder, self.whole)
        except AssertionError:
            yield "checkpoints or metrics"
        for name in ("last_ema.safetensors", "best_ema.safetensors"):
            if not toy.differ_in_times_alone(folder / name, self.whole / name):
                yield name
        states = [digest(RunFolder(place).read_state()[0]) for place in (folder, self.whole)]
        if states[0] != states[1]:
            yield "state.safetensors"

    def leftovers(self, folder: Path) -> list[str]:
        return sorted(listed(folder) - listed(self.whole))


def _moment(facts: Mapping[str, Any]) -> str:
    return f"epoch {facts['position']['epoch']} batch {facts['position']['batch']}"


def _other(place: RunFolder, facts: Mapping[str, Any]) -> Iterator[str]:
    """The files that the state names and that are neither in their places nor on their way there."""
    for name, wanted in facts["position"]["files"].items():
        there = [path for path in (place.path / name, place.next.path / name) if path.exists()]
        if wanted not in [hashlib.sha256(path.read_bytes()).hexdigest() for path in there]:
            yield name


def complaints(scene: Scene, folder: Path) -> list[str]:
    """What is wrong in ``folder``; that something cannot be read at all is wrong too."""
    try:
        return [f"{folder.name}: {what}" for what in scene.wrong(folder)]
    except Exception as error:
        return [f"{folder.name}: {type(error).__name__}: {error}"]


def said(log: Path) -> str:
    """The last lines of a log."""
    return " ".join(log.read_text().splitlines()[-3:])
