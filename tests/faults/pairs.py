"""Two processes that train together over Gloo, one of which is killed."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.runtime.distributed import joined
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.seal import digest
from tests.faults.processes import Ended, fork, wait
from tests.faults.scenes import listed, said
from tests.runtime import toy

SETTINGS = ["run.epochs=2", "run.ema_decay=0.9", "run.save_minutes=1e-9"]
PATIENCE = 120.0
"""Seconds within which the one that is left must have noticed."""


def pairs(tries: int, home: Path, chance: random.Random) -> dict[str, Any]:
    """Runs of two processes, one killed at a moment of its training; the other must say so, and both go on to the same bits."""
    found: dict[str, Any] = {"tries": tries, "kills": 0, "told": 0, "failed": [], "unequal": [], "leftovers": []}
    if not tries:
        return found
    whole = home / "pair-whole"
    seconds = max(ended.seconds for ended in _together(whole))
    for number in range(tries):
        folder, victim = home / f"pair{number}", chance.randrange(2)
        ended = _together(folder, victim, chance.uniform(0, seconds))
        log = _log(folder, 1 - victim)
        if ended[victim].killed:
            found["kills"] += 1
            left = ended[1 - victim]
            found["told"] += left.code == 2 and "lost another one" in log.read_text()
            if left.code != 2 and left.code:  # it may have had nothing left to do with the other
                found["failed"].append(f"{folder.name}: the one left ended with {left.code}: {said(log)}")
        if any(one.code for one in _together(folder)):
            found["failed"].append(f"{folder.name}, resumed: {said(_log(folder, 0))}")
            continue
        states = [digest(RunFolder(place).read_state()[0]) for place in (folder, whole)]
        same = states[0] == states[1] and toy.metrics(folder, *toy.TIMES) == toy.metrics(whole, *toy.TIMES)
        found["unequal"] += [] if same else [folder.name]
        found["leftovers"] += sorted(listed(folder) - listed(whole))
    return found


def _together(folder: Path, victim: int | None = None, after: float = 0.0) -> list[Ended]:
    """How each of the two ended, by rank; ``victim`` is killed so long after both were joined."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ready = os.pipe()
    began = time.monotonic()
    children = [fork(_work(folder, rank, place, ready[1]), _log(folder, rank)) for rank in range(2)]
    os.close(ready[1])
    for _ in children:
        os.read(ready[0], 1)
    os.close(ready[0])
    if victim is not None:
        time.sleep(after)
        os.kill(children[victim], signal.SIGKILL)

    def give_up(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(PATIENCE))
    try:
        return [wait(child, began) for child in children]
    finally:
        signal.alarm(0)


def _work(folder: Path, rank: int, place: dict[str, str], ready: int) -> Callable[[], object]:
    def work() -> None:
        os.environ.update({**place, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        with joined(torch.device("cpu")) as world:
            os.write(ready, b".")
            toy.run(folder, SETTINGS, world=world, resume=RunFolder(folder).state.exists())

    return work


def _log(folder: Path, rank: int) -> Path:
    return folder.with_name(f"{folder.name}-rank{rank}.log")
