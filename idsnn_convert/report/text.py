"""How results are put on stdout: JSON, tables and paragraphs of 80 columns, plain where stdout is no terminal."""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from idsnn_convert.cli import printable
from idsnn_convert.report.summary import grouped, names_told


def print_json(value: Any) -> None:
    """One JSON document on stdout. JSON has no NaN and no infinity; they become null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def console() -> Console:
    """Where results go; without any escape sequence where NO_COLOR is set or stdout is no terminal."""
    return Console(file=sys.stdout, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")


def shown(text: object) -> str:
    """Text of foreign origin on one line, control characters visible."""
    return printable(str(text)).replace("\n", "\\n").replace("\t", "\\t")


def safe(text: object) -> str:
    """The same for where rich reads markup: foreign text is neither escape sequence nor markup."""
    return escape(shown(text))


BETWEEN = 3
"""Columns of the screen between two columns of a table."""


FOLDED = 24
"""A longer name may be folded; numbers and shorter words never are."""


class Fitting(Table):
    """A table that gives each row lines of its own where its words and numbers do not fit beside each other whole."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [[str(column.header), *map(str, column.cells)] for column in self.columns]
        words = [max((cell_len(word) for cell in column for word in _plain(cell).split()), default=0) for column in columns]
        words = [
            word if column.justify == "right" else min(word, FOLDED) for column, word in zip(self.columns, words, strict=True)
        ]
        if sum(words) + BETWEEN * (len(words) - 1) <= options.max_width:
            for column, word in zip(self.columns, words, strict=True):
                column.min_width = word
            yield from super().__rich_console__(console, options)
            return
        titles = [column[0] for column in columns]
        for first, *rest in zip(*(column[1:] for column in columns), strict=True):
            yield Text.from_markup(f"{titles[0]} {first}".strip(), overflow="fold")
            told = [f"{title} {cell}".strip() for title, cell in zip(titles[1:], rest, strict=True) if cell]
            yield Padding(Text.from_markup(", ".join(told)), (0, 0, 0, 2), expand=False)


def _plain(cell: str) -> str:
    return Text.from_markup(cell).plain


def table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    """An empty table; ``numbers``: the columns that stand on the right."""
    made = Fitting(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in set(numbers) else "left", overflow="fold")
    return made


def heading(text: str) -> None:
    console().print(f"[bold]{safe(text)}[/]", soft_wrap=True)


def paragraph(text: str, label: str = "", indent: int = 0) -> None:
    """``text`` wrapped to the width of the console between words, behind ``label``; its lines stand below each other where
    the label leaves them room.

    A word is never broken, so that a path can be copied.
    """
    out = console()
    first = " " * indent + label
    below = " " * (len(first) if len(first) <= out.width // 2 else indent + 2)
    lines = textwrap.wrap(
        shown(text),
        width=max(out.width, len(below) + 20),
        initial_indent=first,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


def reasons(title: str, named: Sequence[tuple[str, str]]) -> None:
    """Tensors grouped by reason, reasons that differ in the block alone as one; nothing if there are none."""
    if not named:
        return
    console().print(title)
    for names, reason in grouped(named):
        paragraph(f"{names_told(names)}: {reason}", "- ", indent=2)
    console().print()
