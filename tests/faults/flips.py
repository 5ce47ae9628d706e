"""Turned bits: a file with one is refused, or says what it said."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.seal import digest
from tests.faults.processes import run
from tests.runtime import toy


def flips(tries: int, home: Path, chance: random.Random) -> dict[str, dict[str, Any]]:
    """Each kind of file of a run, so often with one bit turned."""
    place = RunFolder(home / "flipped")
    run(lambda: toy.run(place.path, ["run.epochs=1"]), home / "flipped.log")
    files = place.read_state()[1]["position"]["files"]

    def state() -> object:
        tensors, facts = place.read_state()
        return digest(tensors), facts

    def checkpoint() -> object:
        found = read(place.last)
        return digest(found.tensors), found.metadata()

    return {
        "a checkpoint": _flipped(place.last, checkpoint, tries, chance),
        "a run's state": _flipped(place.state, state, tries, chance),
        "a run's metrics, resumed": _flipped(place.metrics, lambda: place.check(files), tries, chance),
        "a run's checkpoint, resumed": _flipped(place.last, lambda: place.check(files), tries, chance),
    }


def _flipped(path: Path, read: Callable[[], object], tries: int, chance: random.Random) -> dict[str, Any]:
    whole, right = path.read_bytes(), read()
    found: dict[str, Any] = {"tries": tries, "refused": 0, "right": 0, "wrong": []}
    for _ in range(tries):
        at, bit = chance.randrange(len(whole)), chance.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            same = read() == right
        except UserError:
            found["refused"] += 1
        except Exception as error:
            found["wrong"].append(f"byte {at} bit {bit}: {type(error).__name__}: {error}")
        else:
            found["right"] += same
            found["wrong"] += [] if same else [f"byte {at} bit {bit}: read as something else"]
    path.write_bytes(whole)
    return found
