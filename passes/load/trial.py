"""Tries something in a process of its own first: C++ readers that damaged input can crash, hang, or fill the memory with."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from idsnn_convert.runtime.errors import UserError

SLACK = 400 << 20
"""Bytes of address space that a trial may ask for besides what it is allowed."""

SECONDS = 4
"""Of processor time that a trial may take; a ResNet-152 takes less than one."""

PATIENCE = 120.0
"""Seconds after which a trial that waits for something is ended."""

CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE)
TOO_LONG = (signal.SIGXCPU, signal.SIGKILL)


def tried(work: Callable[[], object], within: int) -> None:
    """Does ``work`` in a copy of this process, which then ends; nothing that it does stays.

    Args:
        within: bytes of memory that it may take besides :data:`SLACK`.

    Raises:
        UserError: if the copy crashed, took too long, or ran out of memory, which "it" in the message did. An error that
            ``work`` raises is left to be met by who does it again.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the copy needs none of them
        child = os.fork()
    if child == 0:
        _try(work, within)
    code = _ended(child)
    if code == _MEMORY:
        raise UserError(f"takes its reader more than {within + SLACK:,} bytes of memory")
    if code < 0:
        raise UserError(
            "crashes its reader"
            if -code in CRASHES
            else f"takes its reader longer than {SECONDS} s"
            if -code in TOO_LONG
            else f"ends its reader by signal {-code}"
        )


_MEMORY = 3


def _try(work: Callable[[], object], within: int) -> None:
    """The copy: never returns, says nothing."""
    code = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if handler := sys.modules.get("faulthandler"):
            handler.disable()
        for kind, most in (
            (resource.RLIMIT_AS, _size() + within + SLACK),
            (resource.RLIMIT_CPU, SECONDS),
            (resource.RLIMIT_CORE, 0),
        ):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        work()
    except MemoryError:
        code = _MEMORY
    except RuntimeError as error:
        code = _MEMORY if any(word in str(error) for word in ("alloc", "memory")) else 1
    finally:
        os._exit(code)


def _size() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _ended(child: int) -> int:
    """How it ended: its exit code, or the signal as a negative number."""
    until = time.monotonic() + PATIENCE
    pause = 0.001
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
