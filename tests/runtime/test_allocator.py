from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from idsnn_convert.runtime import allocator
from idsnn_convert.runtime.allocator import can_keep_memory

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {**os.environ, "OMP_NUM_THREADS": "1"}
FAULTS = """
import resource, sys, torch
from idsnn_convert.runtime.allocator import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory() and keep_memory()
torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of four 64 MiB tensors one after the other, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], cwd=ROOT, env=CLEAN, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not can_keep_memory(), reason="glibc does not allocate here, or was told how")
def test_freed_memory_is_used_again() -> None:
    assert faults("keep") < faults("leave") / 2


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "LD_PRELOAD"])
def test_who_chose_an_allocator_keeps_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(allocator, "_kept", False)
    assert not can_keep_memory()
    assert not allocator.keep_memory()


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("os.confstr", unknown)
    assert not can_keep_memory()
