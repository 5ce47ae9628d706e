"""How results are put on stdout: JSON, tables and paragraphs of 80 columns, plain where stdout is no terminal."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from idsnn_convert.cli import printable

FEW_NAMES = 3
"""Up to so many tensors are named one by one."""

_BLOCK = re.compile(r"stage(\d+)\.block(\d+)")


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


def table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in set(numbers) else "left", overflow="fold")
    return made


def heading(text: str) -> None:
    console().print(f"[bold]{safe(text)}[/]", soft_wrap=True)


def paragraph(text: str, label: str = "", indent: int = 0) -> None:
    """``text`` wrapped to the width of the console between words, behind ``label``; its lines stand below each other.

    A word is never broken, so that a path can be copied.
    """
    out = console()
    first = " " * indent + label
    lines = textwrap.wrap(
        shown(text),
        width=max(out.width, len(first) + 20),
        initial_indent=first,
        subsequent_indent=" " * len(first),
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
    grouped: dict[str, list[tuple[str, str]]] = {}
    for name, reason in named:
        grouped.setdefault(_BLOCK.sub("{}", reason), []).append((name, reason))
    for pattern, rows in grouped.items():
        names = [name for name, _ in rows]
        told = ", ".join(names) if len(names) <= FEW_NAMES else f"{len(names)} tensors ({names[0]}, ...)"
        blocks = dict.fromkeys((int(s), int(b)) for _, reason in rows for s, b in _BLOCK.findall(reason))
        paragraph(f"{told}: {pattern.replace('{}', block_list(list(blocks)))}", "- ", indent=2)
    console().print()


def block_list(blocks: Sequence[tuple[int, int]]) -> str:
    """``(1, 0), (1, 1), (1, 2), (3, 0)`` -> ``stage1.block0-2, stage3.block0``."""
    told = []
    for stage, members in groupby(sorted(blocks), key=lambda block: block[0]):
        numbers = [number for _, number in members]
        runs = [list(run) for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
        ends = [(run[0][1], run[-1][1]) for run in runs]
        told.append(f"stage{stage}.block" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ends))
    return ", ".join(told)
