"""What the doctor found, as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idsnn_convert.examine import IMAGES, Diagnosis, Memory, Problem, disagrees
from idsnn_convert.machine import OPTIONAL
from idsnn_convert.passes.cautions import Caution
from idsnn_convert.report.data import coverage
from idsnn_convert.report.text import console, heading, paragraph, safe, shown, table

SHOWN = 3
"""How many normalisations are listed."""


def print_diagnosis(found: Diagnosis, path: Path) -> None:
    """First whether it converts, then why not, then what to know."""
    out, teacher = console(), found.teacher
    if found.checkpoint is None:
        heading(f"{path} does not convert.")
    else:
        heading(f"{path} converts.")
    if teacher is not None:
        channels, height, width = teacher.input_shape
        images = f"{height}x{width} images of {channels} channels, {teacher.classes} classes"
        paragraph(f"{teacher.arch}, {teacher.family}, {teacher.form}; {images}", "teacher  ")
        for assumption in teacher.assumptions:
            paragraph(assumption, "assumed  ")
    if found.checkpoint is not None:
        mapped = coverage(found.checkpoint.mapping["tensors"])
        share = f"{mapped['tensors']} of {mapped['of_tensors']} tensors ({mapped['percent_of_tensors']} %) from the teacher"
        paragraph(f"spiking {found.target}: {share}, {len(found.checkpoint.neurons)} neuron layers", "tried    ")
    for title, findings in (("What keeps it from converting:", found.problems), ("To be careful of:", found.cautions)):
        if findings:
            out.print(f"\n{title}")
            for finding in findings:
                _print_finding(finding)
    if found.memory is not None:
        out.print()
        _print_memory(found.memory)


def _print_finding(finding: Caution | Problem) -> None:
    place = f"{finding.node} ({finding.source}): " if finding.source else f"{finding.node}: "
    named = not finding.node or isinstance(finding, Caution)  # a caution names its places itself
    first, *rest = (finding.reason if named else place + finding.reason).splitlines()
    paragraph(first, "- ", indent=2)
    for line in rest:
        paragraph(line.strip(), indent=4)
    if finding.advice:
        paragraph(finding.advice, "-> ", indent=4)


def _print_memory(memory: Memory) -> None:
    """The ranking of normalisations, and each batch norm that disagrees."""
    out, best = console(), memory.choice.best
    if best is None:
        paragraph("No batch norm follows its first convolution, so how its images were normalised cannot be told.")
        return
    sure = "" if memory.choice.clear else ", but not beyond doubt"
    crop = f"random crops with a border of {best.crop_padding}" if best.crop_padding else "whole images"
    paragraph(f"Its images were normalised by {best.normalisation.name}, from {crop}{sure}.")
    made = table("normalisation", "off by", numbers=("off by",))
    for fit in memory.choice.fits[:SHOWN]:
        made.add_row(safe(fit.normalisation.name), f"{fit.fit:.2f}")
    out.print(made)
    out.print()
    off = [fit for fit in memory.layers if disagrees(fit)]
    if memory.first_wrong is None:
        worst = max(memory.layers, key=lambda fit: fit.variance_log_ratio)
        told = f"All {len(memory.layers)} batch norms agree with {IMAGES} images; furthest off is {worst.node}"
        paragraph(f"{told}, by {worst.variance_log_ratio:.2f} in its variances.")
        return
    paragraph(
        f"{len(off)} of {len(memory.layers)} batch norms disagree with {IMAGES} images, {memory.first_wrong.node} first: "
        "there the network as read departs from the one that was trained, or the data is other than it was trained on."
    )
    made = table("batch norm", "variances off by", "means off by", numbers=("variances off by", "means off by"))
    for layer in memory.layers:
        style = "red" if disagrees(layer) else None
        made.add_row(safe(layer.node), f"{layer.variance_log_ratio:.2f}", f"{layer.mean_shift:.2f}", style=style)
    out.print(made)


def print_machine(facts: Mapping[str, Any]) -> None:
    """What ``idsnn doctor --machine`` says."""
    out = console()
    heading(f"idsnn-convert {facts['idsnn_convert']}, Python {facts['python']}, PyTorch {facts['torch']}")
    paragraph(facts["platform"], "system    ")
    paragraph(f"{facts['cpus']} to use, {facts['threads']} PyTorch threads", "CPUs      ")
    gpus = [f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in facts["gpus"]]
    paragraph(", ".join(gpus) or "none that PyTorch can use", "GPUs      ")
    compilers = [name.upper() for name, there in facts["compiled_kernels"].items() if there]
    told = f"compiled on {' and '.join(compilers)}" if compilers else "plain PyTorch; a C++ compiler would make them faster"
    paragraph(f"{told}; C++ compiler: {facts['cxx_compiler'] or 'none'}", "kernels   ")
    for warning in facts["warnings"]:
        paragraph(warning, "warning   ")
    out.print()
    made = table("optional package", "version", "for", "extra")
    for name, package in OPTIONAL.items():
        made.add_row(name, shown(facts["packages"][name] or "-"), package.purpose, package.extra)
    out.print(made)
    out.print("\nTo install an extra: pip install 'idsnn-convert[EXTRA]'", markup=False)
