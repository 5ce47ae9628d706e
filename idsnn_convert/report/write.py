"""Reports as files: the ending of a file's name says what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from idsnn_convert.report.html import mapping_page
from idsnn_convert.report.markdown import markdown
from idsnn_convert.report.record import Record
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import write_text

HEAD = 2000
"""Characters within which a report says what it is."""


def as_json(record: Record) -> str:
    """The record itself, in ASCII; each tensor, block and neuron on a line of its own."""
    parts = (f" {json.dumps(key)}: {_spread(value)}" for key, value in record.model_dump().items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _spread(value: Any) -> str:
    """One line, or a line for each where ``value`` is a list of objects."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in value) + "\n ]"
    return json.dumps(value, allow_nan=False)


FORMS: dict[str, tuple[Callable[[Record], str], str]] = {
    ".html": (mapping_page, 'name="generator" content="idsnn-convert'),
    ".md": (markdown, "<!-- idsnn-convert"),
    ".json": (as_json, '"kind": "mapping"'),
}
"""Ending -> what writes such a report, and the words that such a report begins with."""


def check_places(
    places: Sequence[Path], taken: Iterable[Path] = (), *, endings: Collection[str] = tuple(FORMS), option: str = "--report"
) -> None:
    """Refuses, before any work, places that no report can be written to.

    Args:
        taken: files that the command reads or writes besides.
        endings: those of :data:`FORMS` that will do.
        option: by which the places were given.

    Raises:
        UserError: on another ending, a folder that is missing, or a file that is no report.
    """
    others = {path.absolute() for path in taken}
    for place in places:
        told = f"{option} {place}"
        if place.suffix not in endings:
            raise UserError(f"{told}: no report ends in {place.suffix!r}", hint=f"Known: {', '.join(endings)}.")
        if place.absolute() in others:
            raise UserError(f"{told} is named twice, or is a file the command needs", hint="Name another file.")
        if not place.parent.is_dir():
            raise UserError(f"{told}: the folder {place.parent} does not exist")
        if place.is_dir():
            raise UserError(f"{told} is a folder", hint="Name a file in it.")
        if place.exists() and not _is_report(place):
            raise UserError(f"{told} exists and is no report of this kind", hint="Name another file.")
        others.add(place.absolute())


def _is_report(place: Path) -> bool:
    with place.open(encoding="utf-8", errors="replace") as file:
        return FORMS[place.suffix][1] in file.read(HEAD)


def write_reports(record: Record, reports: Iterable[Path]) -> None:
    """Writes each, all or nothing.

    Raises:
        UserError: if one cannot be written.
    """
    for place in reports:
        write_text(place, FORMS[place.suffix][0](record))
