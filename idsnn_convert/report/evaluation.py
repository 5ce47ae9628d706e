"""Evaluations in detail, as text and as JSON-native values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from idsnn_convert.report.text import console, heading, paragraph, safe, shown, table
from idsnn_convert.runtime.details import DetailedEvaluation
from idsnn_convert.runtime.firing import LayerFiring
from idsnn_convert.runtime.measures import Exit

MOST_CLASSES = 20
"""Up to so many classes are listed one by one; of more, the worst."""
MISTAKES = 5
NAME_WIDTH = 36
"""Columns that a layer's name may take; longer ones keep their end."""


def described_details(found: DetailedEvaluation) -> dict[str, Any]:
    """What ``--details`` and ``--early-exit`` add to a measurement. ``confusion`` counts images by label, then answer."""
    return {
        "class_names": list(found.class_names),
        "top1_per_class": list(found.confusion.top1_per_class),
        "confusion": [list(row) for row in found.confusion.counts],
        "early_exit": [
            {"threshold": row.threshold, "top1": row.top1, "mean_steps": row.mean_steps, "images_per_steps": list(row.steps)}
            for row in found.exits
        ],
        "firing": [
            {
                "layer": row.name,
                "shape": list(row.shape),
                "rate": row.rate,
                "silent": row.silent,
                "constant": row.constant,
                "flag": row.flag,
            }
            for row in found.firing
        ],
    }


def print_exit(found: DetailedEvaluation, threshold: float) -> None:
    """What stopping at one confidence gives."""
    row = next(row for row in found.exits if row.threshold == threshold)
    steps = ", ".join(f"T={t} {100 * images / found.images:.1f} %" for t, images in enumerate(row.steps, 1) if images)
    told = f"top-1 {row.top1:.2f} % in {row.mean_steps:.2f} steps on average; images stop after {steps}"
    paragraph(told, f"early exit at confidence {threshold:g}: ")


def print_details(found: DetailedEvaluation) -> None:
    """Exits, layers and classes, each as a table."""
    if found.exits:
        _print_exits(found.exits)
    if found.firing:
        _print_firing(found.firing)
    _print_classes(found)


def _print_exits(rows: Sequence[Exit]) -> None:
    console().print()
    heading("Early exit")
    made = table("confidence", "top-1 %", "mean T", numbers=("confidence", "top-1 %", "mean T"))
    for row in rows:
        made.add_row(f"{row.threshold:g}", f"{row.top1:.2f}", f"{row.mean_steps:.2f}")
    console().print(made)


def _print_firing(rows: Sequence[LayerFiring]) -> None:
    console().print()
    heading("Firing, in percent of neurons and steps")
    made = table("layer", "shape", "rate", "silent", "constant", "", numbers=("rate", "silent", "constant"))
    for row in rows:
        name = row.name if len(row.name) <= NAME_WIDTH else f"...{row.name[3 - NAME_WIDTH :]}"
        shares = [f"{100 * share:.1f}" for share in (row.rate, row.silent, row.constant)]
        made.add_row(safe(name), "x".join(map(str, row.shape)), *shares, row.flag)
    console().print(made)
    paragraph("silent: neurons that never fired; constant: neurons that fired at every step of every image.")


def _print_classes(found: DetailedEvaluation) -> None:
    top1 = [(k, value) for k, value in enumerate(found.confusion.top1_per_class) if value is not None]
    rows = top1 if len(top1) <= MOST_CLASSES else sorted(top1, key=lambda row: row[1])[:MOST_CLASSES]
    console().print()
    heading("Classes" if len(rows) == len(top1) else f"Classes, the {MOST_CLASSES} worst of {len(top1)}")
    made = table("class", "top-1 %", "images", "most often taken for", numbers=("top-1 %", "images"))
    for label, value in rows:
        counts = found.confusion.counts[label]
        wrong = [k for k in sorted(range(len(counts)), key=lambda k: -counts[k]) if k != label and counts[k]]
        taken = f"{found.name(wrong[0])} ({counts[wrong[0]]})" if wrong else ""
        made.add_row(safe(found.name(label)), f"{value:.2f}", f"{sum(counts):,}", safe(taken))
    console().print(made)
    if mistakes := found.confusion.worst(MISTAKES):
        told = ", ".join(f"{shown(found.name(k))} for {shown(found.name(j))} ({count})" for k, j, count in mistakes)
        paragraph(told, "most often taken: ")
