"""Conversions, checkpoints, teachers and measurements as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from idsnn_convert.report import summary
from idsnn_convert.report.record import Record
from idsnn_convert.report.text import console, heading, paragraph, reasons, safe, shown, table
from idsnn_convert.runtime.measures import telling_steps

if TYPE_CHECKING:
    from idsnn_convert.runtime.evaluate import Evaluation
    from idsnn_convert.runtime.trainer import TrainResult


def print_conversion(record: Record, written: Path, reports: Iterable[Path] = ()) -> None:
    """What a conversion says when it is done; ``written`` is the student's file."""
    print_mapping(record)
    out = console()
    out.print("Checked before it was written:")
    for check in record.checks:
        wanted = "" if check.passed else f", FAILED: wanted {check.wanted}"
        paragraph(f"{check.name}: {check.found}{wanted}", "- ", indent=2)
    out.print()
    print_written(written, *reports)


def print_written(*files: Path) -> None:
    for path in files:
        console().print(f"Wrote [bold]{safe(path)}[/] ({path.stat().st_size:,} bytes).", soft_wrap=True)


def print_mapping(record: Record) -> None:
    """Where each block and tensor of a student came from."""
    heading(summary.title(record))
    paragraph(f"{summary.teacher_told(record)}, sha256 {record.teacher.sha256[:16]}", "teacher   ")
    for sentence in summary.evidence_told(record.teacher):
        paragraph(sentence, "  told    ")
    for assumption in record.teacher.assumptions:
        paragraph(assumption, "  assumed ")
    for caution in record.cautions:
        paragraph(f"{caution.reason}. {caution.advice}", "  caution ")
    paragraph(summary.student_told(record), "student   ")
    paragraph(summary.settings_told(record), "settings  ")
    if record.balance is not None:
        paragraph(summary.balance_told(record.balance), "balanced  ")
        if record.balance.curve is not None:
            paragraph(summary.curve_told(record.balance.curve), "accuracy  ")
    out = console()
    out.print()
    out.print(_places(record))
    for label, told in zip(("From the teacher: ", " " * 18), summary.coverage_told(record), strict=True):
        out.print(f"{label}{told}")
    out.print()
    reasons("Fresh, drawn by the seed:", summary.fresh(record))
    reasons("Added since:", summary.added(record))
    reasons("Of the teacher, not used:", summary.unused(record))


def _places(record: Record) -> Table:
    """One line for the stem, each block and the head: its source, its tensors by status, its values."""
    made = table("target", "from", "copied", "looped", "fresh", "values", numbers=("copied", "looped", "fresh", "values"))
    for place in summary.places(record):
        numbers = [str(place.count(status) or "") for status in summary.STATUSES]
        made.add_row(safe(place.name), safe(place.source or "-"), *numbers, f"{place.values():,}")
    return made


def print_checkpoint(record: Record) -> None:
    """What ``idsnn inspect`` says of a checkpoint."""
    print_mapping(record)
    out = console()
    for told, rows in summary.alike(record.neurons):
        paragraph(told, "Neurons: ")
        made = table("layers", "shape", "names", numbers=("layers",))
        for count, shape, names in rows:
            made.add_row(str(count), shape, safe(names))
        out.print(made)
        out.print()
    paragraph(summary.normalisation_told(record), "Normalisation of images: ")
    paragraph(summary.training_told(record.training), "Training: ")


def print_teacher(facts: Mapping[str, Any]) -> None:
    """What ``idsnn inspect`` says of a teacher."""
    out = console()
    channels, height, width = facts["input_shape"]
    heading(f"{facts['arch']} ({facts['family']})")
    out.print(f"file         {shown(facts['file'])}, {shown(facts['form'])}", soft_wrap=True, markup=False)
    out.print(f"sha256       {facts['sha256']}")
    out.print(f"images       {height}x{width}, {channels} channels; {facts['classes']} classes")
    out.print(f"parameters   {facts['parameters']:,} values in {facts['tensors']} tensors")
    kinds = ", ".join(f"{count} {kind}" for kind, count in facts["activations"].items())
    paragraph(f"{sum(facts['activations'].values())} sites ({kinds})", "activations  ")
    if facts["normalisation"]:
        out.print(f"normalised   {shown(facts['normalisation']['name'])}, as recorded", markup=False)
    for assumption in facts["assumptions"]:
        paragraph(assumption, "assumed      ")
    for caution in facts["cautions"]:
        paragraph(f"{caution['reason']}. {caution['advice']}", "caution      ")
    out.print()
    made = table("stage", "blocks", "shape", "convolutions a block", "shortcuts", numbers=("stage", "blocks"))
    for index, stage in enumerate(facts["stages"], 1):
        blocks = stage["blocks"]
        shortcuts = Counter(block["shortcut"] for block in blocks)
        convolutions = "/".join(dict.fromkeys(str(block["convolutions"]) for block in blocks))
        told = ", ".join(f"{count} {name}" for name, count in shortcuts.items())
        made.add_row(str(index), str(len(blocks)), "x".join(map(str, stage["shape"])), convolutions, told)
    out.print(made)
    out.print()
    reasons("In the file, not used:", [(row["source"], row["reason"]) for row in facts["unread"]])


def print_evaluation(found: Evaluation, normalisation: str, steps: Sequence[int] = ()) -> None:
    """What ``idsnn evaluate`` measured; ``steps``: the numbers of time steps to tell of, by default enough of them."""
    out, steps = console(), steps or telling_steps(max(1, len(found.top1_per_step)))
    top5 = "" if found.top5 is None else f"top-5 {found.top5:.2f} %, "
    out.print(f"[bold]top-1 {found.top1:.2f} %[/], {top5}loss {found.loss:.4f}")
    for label, per_step in (("after fewer steps: ", found.top1_per_step), ("             top-5: ", found.top5_per_step)):
        if len(per_step) > 1:
            paragraph(", ".join(f"T={t} {per_step[t - 1]:.2f}" for t in steps), label)
    rate = f"{found.images_per_second:,.0f} images/s"
    paragraph(f"{found.images:,} images, {normalisation} normalisation, {found.seconds:.1f} s ({rate})")


def print_training(result: TrainResult) -> None:
    """How a run ended."""
    out = console()
    out.print(f"[bold]best top-1 {result.best_top1:.2f} %[/] in epoch {result.best_epoch}: {safe(result.best)}", soft_wrap=True)
    out.print(f"last top-1 {result.last_top1:.2f} % in epoch {result.epochs}: {safe(result.last)}", soft_wrap=True)
    if result.best_ema is not None:
        out.print(f"moving average, best top-1 {result.best_ema_top1:.2f} %: {safe(result.best_ema)}", soft_wrap=True)
