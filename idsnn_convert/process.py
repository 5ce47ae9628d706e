"""How the process of a command begins and ends.

Torch's import makes some 165,000 objects that stay. To look through them for garbage meanwhile takes a fifth of its time, to
take them down one by one at the end as much again.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from idsnn_convert import cli
from idsnn_convert.threads import settle

OWN: ContextVar[bool] = ContextVar("own", default=False)
"""Whether the process is a command's and ends with it; else it is of somebody who calls one."""


def main() -> None:
    """The ``idsnn`` command."""
    run(lambda: cli.main(prog_name="idsnn"))


def convert_main() -> None:
    """The ``idsnn-convert`` command: ``idsnn convert`` under its own name."""
    run(cli.convert_main)


def run(command: Callable[[], Any]) -> None:
    """Runs ``command`` as all that this process is for.

    Whatever is asked for at the end of Python (:mod:`atexit`, threads that must be waited for) is done; then the process is
    ended where it stands. Not under a debugger or a profiler, which have an end of their own.
    """
    OWN.set(True)
    settle()
    code: list[int] = []
    if not _watched():
        atexit.register(_end, code)  # the first to be told, so the last to be called
    try:
        command()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):  # else Python prints it
            code.append(end.code or 0)
        raise


def _watched() -> bool:
    """Whether a debugger, a profiler or a measurement of coverage is at work."""
    monitoring: Any = getattr(sys, "monitoring", None)  # since Python 3.12; six tools can be registered
    return bool(sys.gettrace() or sys.getprofile() or (monitoring and any(map(monitoring.get_tool, range(6)))))


def _end(code: list[int]) -> None:
    """Ends the process with the code that there is; if there is none, or what was printed does not get out, Python does."""
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (AttributeError, OSError, ValueError):  # closed, in one way or another
        return
    if code:
        os._exit(code[0])


@contextmanager
def unswept() -> Iterator[None]:
    """While it lasts no garbage is looked for; in a command's own process, what was made is not looked through later either.

    For imports, which make much that stays and little garbage.
    """
    swept = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if OWN.get():
            gc.freeze()
        if swept:
            gc.enable()
