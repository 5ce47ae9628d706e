"""The record as Markdown (GitHub's), for a pull request or a paper's repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from idsnn_convert.report import summary
from idsnn_convert.report.record import Record
from idsnn_convert.report.text import shown

_MEANT = re.compile(r"([\\`*_\[\]<>&~#!@$])")


PIPE = "\\|"
"""A | in a table, in code too."""


def markdown(record: Record) -> str:
    """The whole report; it begins with a comment that says what made it."""
    return "\n".join(_lines(record)) + "\n"


def plain(text: object) -> str:
    """Text of any origin as Markdown that shows it, on one line."""
    return _MEANT.sub(r"\\\1", shown(text)).replace("://", "\\://")


def code(text: object) -> str:
    """A name of any origin as code; the fence is longer than any run of backticks in it."""
    told = shown(text)
    if not told:
        return ""
    fence = "`" * (1 + max(map(len, re.findall("`+", told)), default=0))
    space = " " if told[0] == "`" or told[-1] == "`" else ""
    return f"{fence}{space}{told}{space}{fence}"


def _lines(record: Record) -> Iterable[str]:
    teacher = record.teacher
    yield "<!-- idsnn-convert: where the tensors of a spiking network came from -->"
    yield f"# {plain(summary.title(record).replace('->', '→'))}"
    yield ""
    for told in summary.coverage_told(record):
        yield f"- From the teacher: **{plain(told)}**"
    yield f"- Teacher: {code(teacher.file)}, {plain(teacher.family)}, {plain(teacher.form)}, sha256 {code(teacher.sha256)}"
    yield f"- Student: {plain(summary.student_told(record))}"
    if record.student:
        yield f"- Written as {code(record.student.name)}, sha256 {code(record.student.sha256)}"
    yield f"- Settings: {plain(summary.settings_told(record))}"
    if record.balance is not None:
        yield f"- Thresholds: {plain(summary.balance_told(record.balance))}"
    yield f"- Training: {plain(summary.training_told(record.training))}"
    yield from (f"- **Caution**: {plain(caution.reason)}. {plain(caution.advice)}" for caution in record.cautions)
    yield from _section("Blocks")
    yield from grid(("target", "from", "copied", "looped", "fresh", "values"), _blocks(record), numbers=4)
    for title, named in (
        ("Fresh, drawn by the seed", summary.fresh(record)),
        ("Added since", summary.added(record)),
        ("Of the teacher, not used", summary.unused(record)),
    ):
        if named:
            yield from _section(title)
            yield from (f"- {plain(summary.names_told(names))}: {plain(why)}" for names, why in summary.grouped(named))
    yield from _section("Neurons")
    for told, rows in summary.alike(record.neurons):
        yield f"{plain(told)}:"
        yield ""
        yield from grid(("layers", "shape", "names"), [(str(count), shape, code(names)) for count, shape, names in rows])
    if record.balance is not None:
        yield from _section("Balanced thresholds")
        found = [(code(row.neuron), f"{row.v_threshold:.6g}", f"{row.unit:.6g}") for row in record.balance.thresholds]
        yield from grid(("neuron", "threshold", "unit"), found, numbers=2)
        if (curve := record.balance.curve) is not None:
            yield from _section("Accuracy against time steps")
            yield f"Top-1 of {curve.images:,} test images; without spikes {curve.ann_top1:.2f} %."
            yield ""
            shares = [(str(step), f"{top1:.2f}") for step, top1 in zip(curve.steps, curve.top1, strict=True)]
            yield from grid(("T", "top-1 %"), shares, numbers=2)
    if told_by_images := list(summary.evidence_told(teacher)):
        yield from _section("Told of the teacher by images")
        yield from (f"- {plain(told)}" for told in told_by_images)
    yield from _section("Assumed of the teacher")
    yield from [f"- {plain(told)}" for told in teacher.assumptions] or ["Nothing."]
    yield from _section("Checked before it was written")
    yield from (f"- [{'x' if check.passed else ' '}] {plain(check.name)}: {plain(check.found)}" for check in record.checks)
    yield from _section("Tensors")
    yield from grid(("target", "shape", "source", "shape", "how", "sha256"), _tensors(record))
    yield from _section("To do it again")
    if record.command:
        yield from (f"    {shown(record.command)}", "")
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    yield f"Made by {plain(versions or 'an unknown release')}."


def _section(title: str) -> tuple[str, ...]:
    return ("", f"## {title}", "")


def _blocks(record: Record) -> Iterable[Sequence[str]]:
    for place in summary.places(record):
        counts = [str(place.count(status) or "") for status in summary.STATUSES]
        yield (plain(place.name), plain(place.source or "-"), *counts, f"{place.values():,}")


def _tensors(record: Record) -> Iterable[Sequence[str]]:
    """Every tensor of the student, then those of the teacher that are not used."""
    for row in record.tensors:
        how = plain(row.reason) if row.source is None else row.status
        shapes = summary.dims(row.target_shape), summary.dims(row.source_shape or ())
        yield (code(row.target), shapes[0], code(row.source or ""), shapes[1], how, code(row.sha256[:16]))
    for new in record.added:
        yield (code(new.target), summary.dims(new.target_shape), "", "", summary.ADDED, code(new.sha256[:16]))
    for left in record.unused:
        yield ("", "", code(left.source), summary.dims(left.shape or ()), f"unused: {plain(left.reason)}", "")


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> Iterable[str]:
    """A table; ``numbers``: so many last columns stand on the right."""
    first = len(titles) - numbers
    yield f"| {' | '.join(titles)} |"
    yield f"|{'|'.join('---' if i < first else '---:' for i in range(len(titles)))}|"
    yield from (f"| {' | '.join(cell.replace('|', PIPE) for cell in row)} |" for row in rows)
