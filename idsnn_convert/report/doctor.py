"""What ``idsnn doctor`` found, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from idsnn_convert.examine import Diagnosis
from idsnn_convert.report.terminal import console, safe, table

SHOWN = 3
"""How many normalisations are listed."""


def print_diagnosis(found: Diagnosis) -> None:
    out = console()
    teacher = found.teacher
    if teacher is not None:
        out.print(f"[bold]{safe(teacher.arch)}[/] ({safe(teacher.family)}, {safe(teacher.form)})")
        for assumption in teacher.assumptions:
            out.print(f"  assumed {safe(assumption)}")
    for problem in found.problems:
        place = " at ".join(filter(None, (problem.node, problem.source)))
        out.print(f"[red]would not convert[/]{': ' + safe(place) if place else ''}: {safe(problem.reason)}")
        if problem.advice:
            out.print(f"  {safe(problem.advice)}")
    for caution in found.cautions:
        out.print(f"[yellow]be careful[/]: {safe(caution.reason)}")
        if caution.advice:
            out.print(f"  {safe(caution.advice)}")
    _print_memory(found)
    if not found.problems:
        out.print("[green]It would convert.[/]")


def _print_memory(found: Diagnosis) -> None:
    out = console()
    if found.choice is None:
        return
    if found.choice.best is None:
        out.print(safe(found.choice.describe()))
        return
    ranking = table("normalisation", "off by", "crop padding", numbers=("off by", "crop padding"))
    for fit in found.choice.fits[:SHOWN]:
        ranking.add_row(safe(fit.normalisation.name), f"{fit.fit:.3f}", str(fit.crop_padding))
    out.print(ranking)
    wrong = found.first_wrong
    if wrong is None:
        worst = max(found.layers, key=lambda layer: layer.variance_log_ratio)
        told = f"off by at most {worst.variance_log_ratio:.3f}, at {safe(worst.node)}"
        out.print(f"All {len(found.layers)} batch norms remember these images ({told}): it is the network that was trained.")
    else:
        told = f"its variances are off by {wrong.variance_log_ratio:.2f}"
        out.print(f"[yellow]{safe(wrong.node)} is the first batch norm that disagrees[/]: {told}.")
        out.print("  Something before it is not as it was in training, or these are not the images it was trained on.")


def print_machine(facts: Mapping[str, Any]) -> None:
    out = console()
    gpus = ", ".join(map(safe, facts["gpus"])) or "none"
    out.print(f"python {facts['python']}, torch {facts['torch']}, {facts['threads']} threads, GPUs: {gpus}")
    out.print(f"compiled kernels: {'yes' if facts['compiled_kernels'] else 'no (no C++ compiler, or no Triton)'}")
    for name, there in facts["optional_packages"].items():
        out.print(f"  {name:12s} {'installed' if there else 'not installed'}")
