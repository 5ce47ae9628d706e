"""Processes that are killed: forked from a warm one, so that a try costs what its work costs and no imports.

The process that forks must have one thread; ``python -m tests.faults.campaign`` is one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from idsnn_convert.runtime.errors import UserError

FILE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "fcntl.flock", "fsync"}
"""What Python's auditing tells of, before it happens, besides files that are opened to be written."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, -9 if it was killed, and after how many seconds."""

    code: int
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def fork(work: Callable[[], object], log: Path) -> int:
    """The id of a process that does ``work`` and ends: with 0, with 2 after a UserError; what it prints goes to ``log``."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        work()
        code = 0
    except SystemExit as end:  # of a command
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except UserError as error:
        print(f"Error: {error}", flush=True)
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, began: float) -> Ended:
    """Until it has ended."""
    status = os.waitpid(child, 0)[1]
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - began)


def run(work: Callable[[], object], log: Path) -> Ended:
    """``work`` in a process that is left alone."""
    began = time.monotonic()
    return wait(fork(work, log), began)


def killed_after(seconds: float, work: Callable[[], object], log: Path) -> Ended:
    """``work`` in a process that is killed after so many seconds, unless it ended before."""
    began = time.monotonic()
    child = fork(work, log)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)  # a process that ended waits for us as a zombie
    return wait(child, began)


def killed_before(operation: int, work: Callable[[], object], log: Path) -> Ended:
    """``work`` in a process that is killed right before this one of its operations on files, counted from 1."""

    def die(so_far: int) -> None:
        if so_far == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted() -> None:
        _count(die)
        work()

    return run(counted, log)


def operations(work: Callable[[], object], log: Path) -> int:
    """How many operations on files ``work`` makes."""

    def counted() -> None:
        seen = _count(lambda so_far: None)
        try:
            work()
        finally:
            log.with_suffix(".count").write_text(str(len(seen)))

    run(counted, log)
    return int(log.with_suffix(".count").read_text())


def _count(then: Callable[[int], None]) -> list[str]:
    """From now on ``then`` is told, before each operation on files of this process, how many there were."""
    seen: list[str] = []

    def note(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or event in FILE_EVENTS:
            seen.append(event)
            then(len(seen))

    fsync = os.fsync

    def audited_fsync(handle: Any) -> None:
        sys.audit("fsync", handle)
        fsync(handle)

    patch.object(os, "fsync", audited_fsync).start()
    sys.addaudithook(note)
    return seen
