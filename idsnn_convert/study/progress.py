"""How a study goes, on stderr: a bar over all its epochs on a terminal; a line a run, with the time left, everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from rich.progress import TaskID, TextColumn

from idsnn_convert.report.progress import progress_bar, tell
from idsnn_convert.study.outcome import Outcome
from idsnn_convert.study.plan import Job


class StudyBar:
    """Watches the runs of a study one after the other; all its epochs are taken to last equally long.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bar = progress_bar(TextColumn("loss {task.fields[loss]:.3f}"))
        self._task: TaskID | None = None
        self._label, self._runs, self._ended = "", 0, 0
        self._total = self._before = self._done = 0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, epochs: Sequence[int], done: Sequence[int]) -> None:
        """The study begins: the epochs of each run, and how many of them are done already."""
        self._runs, self._total = len(epochs), sum(epochs)
        self._before = self._done = sum(done)
        self._began = self._clock()
        self._task = self._bar.add_task("", total=self._total, completed=self._done, loss=float("nan"))
        kept = f", {self._done} of them done" if self._done else ""
        tell(f"{self._runs} runs of {self._total} epochs in all{kept}")

    def run(self, job: Job) -> None:
        """``job`` begins or goes on."""
        self._label = f"run {self._ended + 1}/{self._runs} {job.folder}"

    def batch(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None:
        if self._task is not None:
            done, what = self._done + batch / batches, f"{self._label} epoch {epoch}/{epochs}"
            self._bar.update(self._task, completed=done, description=what, loss=loss)

    def epoch(self, record: Mapping[str, Any]) -> None:
        self._done += 1

    def finished(self, found: Outcome) -> None:
        """A run is done, in this call or an earlier one."""
        self._ended += 1
        curve = " ".join(f"{top1:.1f}" for top1 in found.curve[-6:])
        what = f"run {self._ended}/{self._runs} {found.arm}-{found.schedule}-{found.seed}"
        tell(f"{what}  {curve} %  {self._left()}")

    def _left(self) -> str:
        done, left = self._done - self._before, self._total - self._done
        if not left or not done:
            return "done" if not left else "kept"
        gone = self._clock() - self._began
        return f"{_minutes(gone)} gone, {_minutes(gone / done * left)} left"


def _minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
