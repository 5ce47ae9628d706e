"""What the doctor found, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from idsnn_convert.examine import Diagnosis, Problem
from idsnn_convert.identify import Identification
from idsnn_convert.machine import OPTIONAL
from idsnn_convert.passes.cautions import Caution
from idsnn_convert.report.data import coverage
from idsnn_convert.report.text import console, heading, paragraph, safe, shown, table
from idsnn_convert.runtime.fingerprint import LayerFit
from idsnn_convert.runtime.ranking import disagrees

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
        for sentence in teacher.evidence.get("established", []):
            paragraph(sentence, "told     ")
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
    if found.identification is not None:
        out.print()
        _print_identification(found.identification)


def _print_finding(finding: Caution | Problem) -> None:
    place = f"{finding.node} ({finding.source}): " if finding.source else f"{finding.node}: "
    named = not finding.node or isinstance(finding, Caution)  # a caution names its places itself
    first, *rest = (finding.reason if named else place + finding.reason).splitlines()
    paragraph(first, "- ", indent=2)
    for line in rest:
        paragraph(line.strip(), indent=4)
    if finding.advice:
        paragraph(finding.advice, "-> ", indent=4)


def _print_identification(found: Identification) -> None:
    """Whether it is the network that was trained; how its images were normalised; the readings that were tried."""
    out, best, wrong = console(), found.choice.best, found.first_wrong
    source = f"{found.images} images of {found.data} ({found.split})"
    if best is None:
        paragraph(f"Whether it is the network that was trained cannot be told from {source}: it has no batch norm.")
        return
    agree = sum(not disagrees(fit) for fit in found.layers)
    if wrong is None:
        worst = max(found.layers, key=lambda fit: fit.off_by)
        told = f"all {len(found.layers)} batch norms agree with {source}, {worst.node} least, off by {worst.off_by:.2f}"
        paragraph(f"It is the network that was trained: {told}.")
    else:
        paragraph(
            f"It is not the network that was trained, or not on such images: {agree} of {len(found.layers)} batch norms agree "
            f"with {source}. The first that does not is {wrong.node}: a variance of {wrong.stored:.3g} is stored and "
            f"{wrong.seen:.3g} seen, mean over its channels."
        )
    for sentence in found.changed:
        paragraph(sentence, "read otherwise than its names and shapes suggest: ")
    for other in found.alike:
        paragraph(" ".join(other.differs), "fits as well: ")
    sure = "" if found.choice.clear else ", but not beyond doubt"
    crop = f"random crops with a border of {best.crop_padding}" if best.crop_padding else "whole images"
    paragraph(f"Its images were normalised by {best.normalisation.name}, from {crop}{sure}.")
    out.print()
    made = table("normalisation", "off by", numbers=("off by",))
    for fit in found.choice.fits[:SHOWN]:
        made.add_row(safe(fit.normalisation.name), f"{fit.fit:.2f}")
    out.print(made)
    out.print()
    _print_readings(found)
    if wrong is not None:
        _print_layers(found.layers)


def _print_readings(found: Identification) -> None:
    """Best first: in what each differs, the first batch norm that tells, and how far off that is, and was in the best."""
    made = table("reading", "first wrong", "off by", "best", numbers=("off by", "best"))
    for ranked in found.ranking:
        wrong = ranked.fit.first_wrong
        ours = next((fit.off_by for fit in found.layers if wrong is not None and fit.node == wrong.node), None)
        numbers = (
            (ranked.fit.told_by or "-", "", "")
            if wrong is None
            else (wrong.node, f"{wrong.off_by:.2f}", "" if ours is None else f"{ours:.2f}")
        )
        told = " ".join(ranked.differs) or ("as taken" if ranked is found.ranking[0] else "the same")
        if ranked.preparation != found.ranking[0].preparation:
            told += f" Normalised by {ranked.preparation.normalisation.name}."
        made.add_row(safe(told), safe(numbers[0]), *numbers[1:])
    console().print(made)


def _print_layers(layers: Sequence[LayerFit]) -> None:
    made = table("batch norm", "variances off by", "means off by", numbers=("variances off by", "means off by"))
    for layer in layers:
        style = "red" if disagrees(layer) else None
        made.add_row(safe(layer.node), f"{layer.variance_log_ratio:.2f}", f"{layer.mean_shift:.2f}", style=style)
    console().print(made)


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
    told = "by Winograd's algorithm" if facts["winograd_convolutions"] else "directly; a C++ compiler would halve their time"
    paragraph(f"3x3 convolutions on the CPU {told}", "float32   ")
    told = "yes, evaluate --weight-bits and run.teacher_precision=int8"
    told = told if facts["integer_convolutions"] else "no, the processor has no AVX-512 VNNI"
    paragraph(f"multiplied as bytes: {told}", "integers  ")
    told = "kept for reuse by train and evaluate" if facts["keeps_memory"] else "as the C library's allocator sees fit"
    paragraph(f"freed memory is {told}", "allocator ")
    for warning in facts["warnings"]:
        paragraph(warning, "warning   ")
    out.print()
    made = table("optional package", "version", "for", "extra")
    for name, package in OPTIONAL.items():
        made.add_row(name, shown(facts["packages"][name] or "-"), package.purpose, package.extra)
    out.print(made)
    out.print("\nTo install an extra: pip install 'idsnn-convert[EXTRA]'", markup=False)
