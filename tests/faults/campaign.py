"""Kills, full disks and turned bits, many times over, each time held against work that was left alone.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m tests.faults.campaign [--kills 10] [--pairs 1] [--disks 2] [--flips 200]

Prints one JSON object a line for each kind of fault; ``benchmarks/faults.py`` makes a table of them. Lists in it name what
went wrong: all are empty where nothing did.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.faults.disks import disks
from tests.faults.flips import flips
from tests.faults.pairs import pairs
from tests.faults.processes import killed_after, killed_before, run
from tests.faults.scenes import Conversion, Scene, Training, complaints, said

MOST_KILLS = 3
"""So often the same work is killed before it is left to end."""


@dataclass
class Tally:
    """What came of it. Every list names what went wrong.

    Attributes:
        clock, operation: of the kills, those at a moment of the clock, and those right before an operation on files.
        failed: works that did not end well once they were left alone.
        wrong: what could be read after a kill and was not right, or could not be read at all.
        unequal: what the finished work left and the undisturbed one did not, to the bit.
        leftovers: files beside those of the undisturbed work.
    """

    runs: int = 0
    kills: int = 0
    clock: int = 0
    operation: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    seconds: float = 0.0


def kills(scene: Scene, wanted: int, home: Path, chance: random.Random) -> Tally:
    """Works that are killed one to three times, at moments drawn by the clock or by operations on files, and then finished."""
    tally, began = Tally(), time.monotonic()
    while tally.kills < wanted:
        folder = home / f"{scene.name}{tally.runs}"
        folder.mkdir()
        scene.begin(folder, chance)
        tally.runs += 1
        for _ in range(min(chance.randint(1, MOST_KILLS), wanted - tally.kills)):
            _kill(scene, folder, chance, tally)
        work, log = scene.work(folder), home / f"{folder.name}.log"
        if run(work, log).code:
            tally.failed.append(f"{folder.name}: {said(log)}")
            continue
        tally.unequal += [f"{folder.name}: {what}" for what in scene.unequal(folder)]
        tally.leftovers += [f"{folder.name}: {what}" for what in scene.leftovers(folder)]
    tally.seconds = round(time.monotonic() - began, 1)
    return tally


def _kill(scene: Scene, folder: Path, chance: random.Random, tally: Tally) -> None:
    work, log = scene.work(folder), folder.with_suffix(".log")
    by_clock = chance.random() < 0.5
    if by_clock:
        ended = killed_after(chance.uniform(0, scene.seconds), work, log)
    else:
        ended = killed_before(chance.randint(1, scene.operations), work, log)
    if ended.killed:
        tally.kills += 1
        tally.clock += by_clock
        tally.operation += not by_clock
    elif ended.code:
        tally.failed.append(f"{folder.name}: {said(log)}")
    tally.wrong += complaints(scene, folder)


def campaign(asked: argparse.Namespace, home: Path) -> Iterator[dict[str, Any]]:
    """Everything that was asked for, in folders under ``home``; ``what`` it was and what came of it, one after the other."""
    chance = random.Random(asked.seed)
    scenes: dict[str, Callable[[Path], Scene]] = {"conversion": Conversion, "training": Training}
    for name, make in scenes.items():
        place = home / name
        place.mkdir()
        scene = make(place)
        told(f"{name}: {scene.seconds:.1f} s, {scene.operations} operations on files")
        yield {"what": f"{name}, killed", **asdict(kills(scene, asked.kills // 2, place, chance))}
        yield {"what": f"{name}, disk full", **disks(scene, asked.disks, place, chance)}
    yield {"what": "training of two processes, one killed", **pairs(asked.pairs, home, chance)}
    for what, tried in flips(asked.flips, home, chance).items():
        yield {"what": f"{what}, a bit turned", **tried}


def told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("kills", 10), ("pairs", 1), ("disks", 2), ("flips", 200), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        for found in campaign(asked, Path(home)):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
