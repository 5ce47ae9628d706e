"""Stopping on SIGINT (Ctrl-C), SIGTERM and SIGHUP at a place of the program's choosing, so that nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - no error, as KeyboardInterrupt is none
    """A run stopped on a signal, after it wrote what it needs to be resumed.

    Attributes:
        exit_code: 128 + the signal's number, as shells count: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


class StopRequest:
    """Remembers the first signal; while active, that is all the signal does. A second one acts as if this were not here.

    Signals reach a program's main thread alone: elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            asked = [signal.SIGINT, signal.SIGTERM]
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: the run outlives its terminal
                asked.append(signal.SIGHUP)
            self._before = {signum: signal.signal(signum, self._receive) for signum in asked}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    @property
    def signum(self) -> int:
        """The signal that has come; 0 if none has."""
        return self._signum or 0

    def check(self) -> None:
        """Raises :class:`Interrupted` if a signal has come."""
        if self._signum is not None:
            raise Interrupted(self._signum)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, a signal raises :class:`Interrupted` wherever it finds the program."""
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = False

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self._signum = signum
        self.__exit__()
        if self._at_once:
            raise Interrupted(signum)
