from __future__ import annotations

import errno
import io
import os
import sys

import pytest
from rich.progress import Progress, Task

from idsnn_convert.cli import LOUDNESS, QUIET
from idsnn_convert.report.progress import Rate, TrainingBar, counting, tell

RECORD = {
    "epoch": 3,
    "train_loss": 1.25,
    "train_top1_percent": 50.0,
    "test_top1_percent": 60.0,
    "lr": 0.05,
    "train_seconds": 10.0,
    "test_seconds": 2.0,
    "train_images_per_second": 850.4,
}


def test_progress_goes_to_stderr_and_escapes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    tell("a \x1b[31m[bold]b[/]")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "a \\x1b[31m[bold]b[/]\n"


def test_a_run_that_no_terminal_watches_leaves_one_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingBar() as bar:
        for batch in range(1, 5):
            bar.batch(3, 5, batch, 4, 1.3)
        bar.epoch(RECORD)
    captured = capsys.readouterr()
    assert captured.out == ""
    line = "epoch   3  loss 1.2500  train 50.00 %  test 60.00 %  lr 0.05  850 img/s  12 s, 0:24 to go"
    assert captured.err.splitlines() == [line]


def test_the_last_epoch_says_nothing_of_the_rest_and_an_average_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingBar() as bar:
        bar.batch(3, 3, 1, 1, 1.3)
        bar.epoch({**RECORD, "ema_test_top1_percent": 61.5})
        bar.batch(3, 1000, 1, 1, 1.3)
        bar.epoch(RECORD)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("test 60.00 % (61.50 % average)  lr 0.05  850 img/s  12 s")
    assert second.endswith("12 s, 3:19:24 to go")


def test_layers_that_hardly_or_always_fire_are_told_when_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    well = {"act1": 0.2, "act2": 0.1}
    dead = {"act1": 0.2, "act2": 0.0, "act3": 0.0004, "act4": 0.99}
    with TrainingBar() as bar:
        for rates in (well, dead, dead, well):
            bar.epoch({**RECORD, "test_firing_rates": rates})
        bar.epoch({**RECORD, "test_firing_rates": {f"act{k}": 0.0 for k in range(6)}})
    assert [line for line in capsys.readouterr().err.splitlines() if not line.startswith("epoch")] == [
        "  dead, hardly firing: act2 (0.00 %), act3 (0.04 %); saturated, firing nearly always: act4 (99.00 %)",
        "  no layer is dead or saturated any more",
        "  dead, hardly firing: act0 (0.00 %), act1 (0.00 %), act2 (0.00 %), act3 (0.00 %) and 2 more",
    ]


def test_counting_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with counting("evaluating") as progress:
        progress(3, 10)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_bar_gives_way_to_the_epochs_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with TrainingBar() as bar:
        for batch in range(1, 5):
            bar.batch(3, 5, batch, 4, 1.3)
        bar.epoch(RECORD)
    before, line, _ = screen.getvalue().partition("epoch   3  loss 1.2500")
    assert line
    assert "epoch 3/5, testing" in before
    assert before.rstrip("\r").endswith("\x1b[2K")  # the bar was erased


class Closed(Terminal):
    """A terminal whose window was closed, or a pipe that nobody reads."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.error = OSError(number, os.strerror(number))

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize("number", [errno.EIO, errno.EPIPE, errno.ENOSPC])
def test_work_does_not_end_because_nobody_looks_at_it(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(sys, "stderr", Closed(number))
    with TrainingBar() as bar:
        bar.batch(1, 2, 1, 4, 1.0)
        bar.epoch(RECORD)
    tell("stopped")


def test_the_bar_tells_images_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Progress(Rate())
    batches, plain = bar.add_task("", total=4, images=50), bar.add_task("", total=4)
    for task in bar.tasks:
        monkeypatch.setattr(Task, "speed", property(lambda task: 2.5))
        task.finished_speed = None
    assert [Rate().render(bar.tasks[index]).plain for index in (batches, plain)] == ["125 img/s", ""]


def test_quiet_means_no_line_and_no_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    token = LOUDNESS.set(QUIET)
    try:
        tell("a line")
        with TrainingBar(16) as bar, counting("evaluating") as progress:
            bar.batch(1, 2, 1, 4, 1.0)
            progress(1, 2)
    finally:
        LOUDNESS.reset(token)
    assert screen.getvalue() == ""
