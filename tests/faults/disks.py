"""Disks that fill up in the middle of the work: a small tmpfs where one may be mounted, else a limit on files' sizes."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.processes import run
from tests.faults.scenes import Scene, complaints, listed, said

TOLD = ("No space left on device", "File too large", "not enough space")


def disks(scene: Scene, tries: int, home: Path, chance: random.Random) -> dict[str, Any]:
    """The scene's work where there is room for a part of what it writes, and again where there is room for all."""
    found: dict[str, Any] = {"tries": 0, "told": 0, "kind": "", "failed": [], "wrong": [], "unequal": [], "leftovers": []}
    sizes = [path.stat().st_size for path in scene.whole.rglob("*") if path.is_file()]
    for number in range(tries):
        folder = home / f"{scene.name}-full{number}"
        folder.mkdir()
        log = folder.with_suffix(".log")
        with small(folder, share := chance.uniform(0.05, 0.95), sum(sizes), max(sizes)) as (kind, limited, enlarge):
            ended = run(limited(scene.work(folder)), log)
            found["kind"], found["tries"] = kind, found["tries"] + 1
            told = [line for line in log.read_text().splitlines() if any(words in line for words in TOLD)]
            found["told"] += ended.code == 2 and bool(told) and "Traceback" not in log.read_text()
            if ended.code != 2 or not told:
                found["failed"].append(f"{share:.2f} of the room: code {ended.code}: {said(log)}")
            found["wrong"] += complaints(scene, folder)
            found["leftovers"] += [name for name in listed(folder) if name.endswith(".part")]
            enlarge()
            if run(scene.work(folder), log).code:
                found["failed"].append(f"with room again: {said(log)}")
            else:
                found["unequal"] += scene.unequal(folder)
                found["leftovers"] += scene.leftovers(folder)
    return found


Limited = Callable[[Callable[[], object]], Callable[[], object]]


@contextmanager
def small(folder: Path, share: float, needed: int, largest: int) -> Iterator[tuple[str, Limited, Callable[[], object]]]:
    """Within, ``folder`` has room for a share of what is needed; gives the limit's kind, the work under it, what lifts it."""
    page = 4096
    size = max(page * 3, int(share * needed) // page * page)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if _can(mount):
        try:
            yield "tmpfs", lambda work: work, lambda: _can(["mount", "-o", "remount,size=64m", str(folder)])
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return

    def limited(work: Callable[[], object]) -> Callable[[], object]:
        def inner() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * largest), resource.RLIM_INFINITY))
            work()

        return inner

    yield "limit on files' sizes", limited, lambda: None


def _can(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False
