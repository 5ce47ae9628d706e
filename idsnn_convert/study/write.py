"""A study's result as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from idsnn_convert.runtime.files import write_text
from idsnn_convert.study.lasnn import plots as lasnn_plots
from idsnn_convert.study.lasnn import tables as lasnn_tables
from idsnn_convert.study.plots import can_plot, draw
from idsnn_convert.study.tables import markdown


def write_study(result: Mapping[str, Any], out: Path, told: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Writes ``STUDY.json``, ``STUDY.md`` and, where matplotlib is installed, ``STUDY.svg`` and ``STUDY.png``.

    Args:
        result: what :func:`idsnn_convert.study.run.run_study` or :func:`idsnn_convert.study.lasnn.run.run_lasnn` gives.
        out: an existing folder.

    Raises:
        UserError: if it cannot be written to.
    """
    name = result["study"]
    pictures = (lasnn_plots.draw if name == "lasnn" else draw)(result, out) if can_plot() else []
    if not pictures:
        told("No curves are drawn without matplotlib: pip install 'idsnn-convert[plot]', then the same command again.")
    write_text(out / f"{name}.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_text(out / f"{name}.md", told_as(result, [path.name for path in pictures if path.suffix == ".svg"]))
    return [out / f"{name}.json", out / f"{name}.md", *pictures]


def told_as(result: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The study's page as Markdown."""
    return (lasnn_tables.markdown if result["study"] == "lasnn" else markdown)(result, pictures)
