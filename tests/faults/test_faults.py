"""A short campaign of kills, full disks and turned bits; ``make faults`` makes a long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def test_a_short_campaign_finds_nothing() -> None:
    command = [sys.executable, "-m", "tests.faults.campaign", "--kills", "4", "--disks", "1", "--flips", "40", "--pairs", "0"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {row.pop("what"): row for row in map(json.loads, done.stdout.splitlines())}
    for what in ("conversion", "training"):
        assert found[f"{what}, killed"]["kills"] == 2
        assert found[f"{what}, disk full"]["told"] == 1
    for what, row in found.items():
        assert not [cases for cases in row.values() if isinstance(cases, list) and cases], what
