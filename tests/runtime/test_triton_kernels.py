"""Under Triton's interpreter, and compiled for a GPU that need not be there; both in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def run(*arguments: str, **environment: str) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **environment}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_equal_to_those_in_pytorch_under_the_interpreter() -> None:
    told = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "triton_interpreted.py"), TRITON_INTERPRET="1")
    assert " passed" in told
    assert "skipped" not in told


def test_every_kernel_compiles_for_a_gpu_and_moves_16_bytes_at_a_time(tmp_path: Path) -> None:
    told = run(str(HERE / "triton_ahead.py"), "6", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    lines = told.splitlines()
    assert [line.split()[0] for line in lines] == ["_forward_kernel", "_gradients_kernel", "_sums_kernel"] * 2
    assert all("cubin" in line and "ld.global.v4.b32" in line for line in lines)
    assert all("st.global.v4.b32" in line for line in (*lines[:2], *lines[3:5]))
