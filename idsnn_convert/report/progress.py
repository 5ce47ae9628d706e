"""Progress on stderr: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from idsnn_convert.cli import LOUDNESS, QUIET, printable
from idsnn_convert.runtime.firing import flag

if TYPE_CHECKING:
    from idsnn_convert.runtime.evaluate import Progress as Counter

FLAGS = {"dead": "hardly firing", "saturated": "firing nearly always"}
NAMED = 4
"""So many dead or saturated layers are named."""


class _Lasting:
    """A stream whose reader may go away (a closed terminal, a broken pipe): what cannot be written is dropped.

    Work of days does not end because nobody looks at it.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _stderr() -> Any:
    return _Lasting(getattr(sys.stderr, "rich_proxied_file", sys.stderr))  # what a bar that runs has put itself in front of


def tell(line: str) -> None:
    """A line for the person who waits, unless it was asked to be quiet."""
    if LOUDNESS.get() != QUIET:
        Console(file=_stderr(), highlight=False).print(printable(line), markup=False, soft_wrap=True)


class Rate(ProgressColumn):
    """Images per second, where a step of the task is ``images`` of them; nothing before the first or where it is 0."""

    def render(self, task: Task) -> Text:
        speed, images = task.finished_speed or task.speed, task.fields.get("images", 0)
        return Text(f"{speed * images:,.0f} img/s" if speed and images else "")


def progress_bar(*more: ProgressColumn) -> Progress:
    """A bar on stderr with the time left; nothing where stderr is no terminal, or where it was asked to be quiet."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(None),
        MofNCompleteColumn(),
        *more,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=_stderr())
    silent = not console.is_terminal or LOUDNESS.get() == QUIET
    return Progress(*columns, console=console, transient=True, disable=silent)


@contextmanager
def counting(what: str, images: int = 1) -> Iterator[Counter]:
    """A bar that is told (done, of); ``images``: how many of them one is, 0 where something else is counted."""
    with progress_bar(Rate()) as bar:
        task = bar.add_task(what, total=None, images=images)
        yield lambda done, of: bar.update(task, completed=done, total=of)


class TrainingBar:
    """Watches a run: batches of the epoch as a bar with its loss, then one line for the epoch.

    Args:
        batch_size: images of a batch; 0 if that is not known.
    """

    def __init__(self, batch_size: int = 0) -> None:
        self._batch_size = batch_size
        self._bar = progress_bar(TextColumn("loss {task.fields[loss]:.3f}"), Rate())
        self._task: TaskID | None = None
        self._epochs = 0
        self._flagged: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def batch(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None:
        if self._task is None:
            self._task = self._bar.add_task(f"epoch {epoch}/{epochs}", total=batches, loss=loss, images=self._batch_size)
        self._epochs, trained = epochs, batch == batches
        what = f"epoch {epoch}/{epochs}{', testing' if trained else ''}"
        self._bar.update(self._task, completed=batch, loss=loss, description=what, refresh=trained)

    def epoch(self, record: Mapping[str, Any]) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._bar.refresh()  # so that the line below does not stand behind the bar
            self._task = None
        average = f" ({record['ema_test_top1_percent']:.2f} % average)" if "ema_test_top1_percent" in record else ""
        seconds = record["train_seconds"] + record["test_seconds"]
        left = seconds * (self._epochs - record["epoch"])
        tell(
            f"epoch {record['epoch']:>3}  loss {record['train_loss']:.4f}  train {record['train_top1_percent']:5.2f} %  "
            f"test {record['test_top1_percent']:5.2f} %{average}  lr {record['lr']:.4g}  "
            f"{record['train_images_per_second']:.0f} img/s  {seconds:.0f} s{f', {_lasting(left)} to go' if left > 0 else ''}"
        )
        rates = record.get("test_firing_rates", {})
        if (flagged := {name: kind for name, rate in rates.items() if (kind := flag(rate))}) != self._flagged:
            self._flagged = flagged  # told when it changes, not after every epoch
            tell(_told(flagged, rates))


def _told(flagged: Mapping[str, str], rates: Mapping[str, float]) -> str:
    """The layers that pass nearly nothing on, or the same at nearly every step, with their spikes per neuron and step."""
    if not flagged:
        return "  no layer is dead or saturated any more"
    parts = []
    for kind in dict.fromkeys(flagged.values()):
        names = [name for name in flagged if flagged[name] == kind]
        shown = ", ".join(f"{name} ({100 * rates[name]:.2f} %)" for name in names[:NAMED])
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        parts.append(f"{kind}, {FLAGS[kind]}: {shown}{more}")
    return f"  {'; '.join(parts)}"


def _lasting(seconds: float) -> str:
    """``1:05:00``, ``4:09``: hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
