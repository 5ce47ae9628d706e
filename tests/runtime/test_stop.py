"""Signals are remembered, acted on where it suits, and let through the second time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from idsnn_convert.runtime.stop import Interrupted, StopRequest


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Signals as a terminal's foreground has them: in the background shells have SIGINT ignored, and nohup SIGHUP."""
    heard = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {signum: signal.signal(signum, handler) for signum, handler in heard.items()}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize(
    ("signum", "code", "name"),
    [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM"), (signal.SIGHUP, 129, "SIGHUP")],
)
def test_a_signal_waits_for_the_check(signum: int, code: int, name: str) -> None:
    with StopRequest() as stop:
        stop.check()
        assert stop.signum == 0
        send(signum)
        assert stop.signum == signum
        with pytest.raises(Interrupted, match=f"stopped by {name}") as caught:
            stop.check()
    assert caught.value.exit_code == code


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGHUP)
            stop.check()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_at_once_where_asked() -> None:
    reached = []
    with StopRequest() as stop:
        with pytest.raises(Interrupted), stop.at_once():  # noqa: PT012 - the second line must not be reached
            send(signal.SIGTERM)
            reached.append("past the signal")
        with pytest.raises(Interrupted), stop.at_once():
            reached.append("in although one has come")
    assert not reached


def test_not_at_once_after_the_block() -> None:
    with StopRequest() as stop:
        with stop.at_once():
            pass
        send(signal.SIGTERM)
        with pytest.raises(Interrupted):
            stop.check()


def test_a_second_signal_acts_as_ever() -> None:
    with StopRequest():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_it_does_nothing() -> None:
    handler, failed = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        try:
            with StopRequest() as stop:
                assert signal.getsignal(signal.SIGTERM) is handler
                stop.check()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed
