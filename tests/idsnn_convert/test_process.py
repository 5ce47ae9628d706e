from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from idsnn_convert.process import OWN, run, unswept

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import atexit, os, sys, threading, time
from idsnn_convert.process import run

class Last:
    def __del__(self, write=os.write):
        write(2, b"taken down")

last = Last()

def late():
    time.sleep(0.2)
    print("thread")

def command():
    atexit.register(lambda: print("told"))
    threading.Thread(target=late).start()
    print("done")
    {ending}

{before}
run(command)
"""


def ran(ending: str = "sys.exit(3)", before: str = "", stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(ending=ending, before=before)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, text=True, stdout=stdout, stderr=subprocess.PIPE, check=False
    )


@pytest.mark.parametrize(("ending", "code"), [("sys.exit(3)", 3), ("sys.exit()", 0), ("sys.exit(True)", 1)])
def test_the_process_ends_when_all_is_told_and_nothing_is_taken_down(ending: str, code: int) -> None:
    done = ran(ending)
    assert (done.returncode, done.stdout.split(), done.stderr) == (code, ["done", "thread", "told"], "")


@pytest.mark.parametrize(
    ("ending", "code", "told"), [("sys.exit('gone')", 1, "gone"), ("1 / 0", 1, "ZeroDivisionError"), ("pass", 0, "taken down")]
)
def test_what_python_must_tell_it_tells(ending: str, code: int, told: str) -> None:
    done = ran(ending)
    assert (done.returncode, done.stdout.split()) == (code, ["done", "thread", "told"])
    assert told in done.stderr


@pytest.mark.parametrize(
    "before",
    [
        "sys.settrace(lambda *_: None)",
        "sys.setprofile(lambda *_: None)",
        "from types import SimpleNamespace; sys.monitoring = SimpleNamespace(get_tool=lambda tool: 'coverage')",
    ],
)
def test_a_debugger_has_its_end(before: str) -> None:
    done = ran(before=before)
    assert (done.returncode, done.stderr) == (3, "taken down")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_what_cannot_be_printed_is_no_success() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = ran("sys.exit(0)", stdout=full)
    finally:
        os.close(full)
    assert done.returncode == 120  # as Python says it
    assert "No space left" in done.stderr


def test_imports_are_not_looked_through_for_garbage() -> None:
    frozen = gc.get_freeze_count()
    with unswept():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen  # whose process this is decides what lasts in it


def test_in_its_own_process_a_command_looks_them_through_never() -> None:
    program = (
        "import gc; from idsnn_convert.process import run, unswept\ndef command():\n"
        "  with unswept(): import decimal\n  print(gc.isenabled(), gc.get_freeze_count() > 1000)\nrun(command)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_who_had_it_off_has_it_off_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.disable()
    try:
        with unswept():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_error_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atexit.register", lambda *_: None)
    monkeypatch.setattr("idsnn_convert.process.settle", lambda: None)
    token = OWN.set(False)
    try:
        with pytest.raises(ZeroDivisionError):
            run(lambda: 1 / 0)
        assert OWN.get()
    finally:
        OWN.reset(token)
