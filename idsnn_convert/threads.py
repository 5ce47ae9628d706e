"""How many threads the process of a command has, and how they wait: told to OpenMP, which asks once, when torch loads it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

COUNT = "OMP_NUM_THREADS"
SPINS, BRIEFLY = "GOMP_SPINCOUNT", "1000"
WAITING = (SPINS, "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
"""Where somebody says how threads wait."""

ROOT = Path("/")


def settle() -> None:
    """Says what nobody has said: threads that wait sleep soon, and are no more than this process is given processors.

    By itself GNU's OpenMP has them spin for long, on processors that others may need, who spin too: of two trainings at once
    each takes almost three times as long as it need. Alone, spinning briefly costs a small network 6 %, sleeping at once 9 %.
    And it starts one for each processor of the machine, where a container may use but a share of them.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ[SPINS] = BRIEFLY
    if COUNT not in os.environ and processors() < _reachable():
        os.environ[COUNT] = str(processors())


def processors() -> int:
    """How many this process may keep busy: those it may run on, but no more than the time its control groups are given."""
    return max(1, min([_reachable(), *map(math.ceil, _shares())]))


def _reachable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares() -> Iterator[float]:
    """What this process's control groups and those around them may take, in processors; nothing where none is limited, or on
    other systems than Linux. Two versions of them tell in different files."""
    mounted = ROOT / "sys/fs/cgroup"
    with suppress(OSError, ValueError):
        for line in (ROOT / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _limits(mounted, path, ("cpu.max",))
            elif "cpu" in controllers.split(","):
                yield from _limits(mounted / controllers, path, ("cpu.cfs_quota_us", "cpu.cfs_period_us"))


def _limits(mounted: Path, path: str, files: tuple[str, ...]) -> Iterator[float]:
    """Those of the group at ``path`` and all above; a container may see its own as the root."""
    group = Path(path.lstrip("/"))
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):  # no such file, or "max"
            quota, period = " ".join((mounted / folder / name).read_text() for name in files).split()
            if int(quota) > 0 and int(period) > 0:  # -1 is no limit
                yield int(quota) / int(period)
