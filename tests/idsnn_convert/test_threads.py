from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from idsnn_convert import threads
from idsnn_convert.threads import COUNT, SPINS, WAITING, processors, settle

ROOT = Path(__file__).resolve().parents[2]


def machine(folder: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, files: dict[str, str]) -> None:
    """A machine with so many processors and these files of control groups; nobody has said how many threads."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(threads, "ROOT", folder)
    monkeypatch.setattr(threads, "_reachable", lambda: cpus)
    for name in (COUNT, *WAITING):  # what is set meanwhile is undone too
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


NEW, OLD = "0::/a/b\n", "9:memory:/x\n4:cpu,cpuacct:/a\n"
GROUPS: dict[str, tuple[dict[str, str], int]] = {
    "none": ({}, 8),
    "new, no limit": ({"proc/self/cgroup": NEW, "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 8),
    "new": ({"proc/self/cgroup": NEW, "sys/fs/cgroup/a/b/cpu.max": "200000 100000\n"}, 2),
    "new, a part": ({"proc/self/cgroup": NEW, "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 2),
    "new, less than one": ({"proc/self/cgroup": NEW, "sys/fs/cgroup/a/b/cpu.max": "1000 100000\n"}, 1),
    "new, above": (
        {
            "proc/self/cgroup": NEW,
            "sys/fs/cgroup/a/b/cpu.max": "600000 100000",
            "sys/fs/cgroup/a/cpu.max": "300000 100000",
        },
        3,
    ),
    "new, seen from within": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
    "more than there are": ({"proc/self/cgroup": NEW, "sys/fs/cgroup/a/b/cpu.max": "9900000 100000\n"}, 8),
    "old, no limit": (
        {
            "proc/self/cgroup": OLD,
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
        },
        8,
    ),
    "old": (
        {
            "proc/self/cgroup": OLD,
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "500000\n",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
        },
        5,
    ),
    "old, seen from within": (
        {
            "proc/self/cgroup": OLD,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "500000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        5,
    ),
    "not as expected": ({"proc/self/cgroup": "cpu\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 8),
    "no numbers": ({"proc/self/cgroup": NEW, "sys/fs/cgroup/a/b/cpu.max": "many\n", "sys/fs/cgroup/cpu.max": "2 0\n"}, 8),
}


@pytest.mark.parametrize(("files", "expected"), GROUPS.values(), ids=GROUPS.keys())
def test_processors_are_those_of_the_control_group(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(tmp_path, monkeypatch, 8, files)
    assert processors() == expected
    settle()
    assert os.environ.get(COUNT) == (None if expected == 8 else str(expected))
    assert os.environ[SPINS] == "1000"


def test_who_has_said_it_has_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, _ = GROUPS["new"]
    machine(tmp_path, monkeypatch, 8, files)
    monkeypatch.setenv(COUNT, "7")
    monkeypatch.setenv("KMP_BLOCKTIME", "9")
    settle()
    assert os.environ[COUNT] == "7"
    assert SPINS not in os.environ


def test_this_machine_has_processors() -> None:
    assert 1 <= processors() <= (os.cpu_count() or 1)


def test_it_is_said_before_torch_loads() -> None:
    program = (
        "import os, sys; from idsnn_convert.process import run\n"
        "run(lambda: print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in WAITING} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.split() == ["1000", "False"]
