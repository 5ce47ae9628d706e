"""A record in few lines: the facts that terminal, Markdown and HTML draw each in its own way."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from idsnn_convert.report.record import Balance, Curve, Neuron, Record, Teacher, Tensor

FEW_NAMES = 3
"""Up to so many tensors are named one by one."""

TIMES = "\N{MULTIPLICATION SIGN}"

ADDED = "not of the conversion"

STATUSES = ("exact", "looped", "fresh")

_BLOCK = re.compile(r"stage(\d+)\.block(\d+)")


@dataclass(frozen=True)
class Place:
    """The stem, a block or the head of the student, and where in the teacher its tensors come from (empty: nowhere)."""

    name: str
    source: str
    tensors: tuple[Tensor, ...]

    def count(self, status: str) -> int:
        """How many of its tensors are ``exact``, ``looped`` or ``fresh``."""
        return sum(tensor.status == status for tensor in self.tensors)

    def values(self, *statuses: str) -> int:
        """How many values its tensors of these statuses hold; of all where none is named."""
        return sum(size(tensor) for tensor in self.tensors if not statuses or tensor.status in statuses)


def places(record: Record) -> list[Place]:
    """The student's places in graph order."""
    sources = {pair.target: pair.source for pair in record.pairs}
    found = []
    for name in dict.fromkeys(tensor.place for tensor in record.tensors):
        here = tuple(tensor for tensor in record.tensors if tensor.place == name)
        mapped = any(tensor.source is not None for tensor in here)
        found.append(Place(name, sources.get(name, name if mapped else ""), here))
    return found


def size(tensor: Tensor) -> int:
    """How many values it holds."""
    return math.prod(tensor.target_shape)


def title(record: Record) -> str:
    return f"{record.teacher.arch} -> spiking {record.target}"


def teacher_told(record: Record) -> str:
    teacher = record.teacher
    return f"{teacher.file}, {teacher.family}, {teacher.form}"


def evidence_told(teacher: Teacher) -> Iterator[str]:
    """What images said of the teacher, if any were asked, one sentence each."""
    evidence = teacher.evidence
    if not evidence:
        return
    agree = sum(norm["agrees"] for norm in evidence["batch_norms"])
    count = f"{agree} of {len(evidence['batch_norms'])} batch norms agree with {evidence['images']} images"
    others = f"; {len(evidence['readings']) - 1} other readings fit less" if len(evidence["readings"]) > 1 else ""
    yield f"{count} of {evidence['data']}{others if evidence['verdict'] == 'same' else ''}"
    yield from (f"Not what its names and shapes suggest: {sentence}" for sentence in evidence["changed"])
    yield from evidence["established"]
    if evidence["normalisation_clear"]:
        yield f"Its images were normalised by {evidence['normalisation']['name']}."


def student_told(record: Record) -> str:
    kinds = "/".join(dict.fromkeys(str(neuron.settings["kind"]).upper() for neuron in record.neurons))
    known = "?" if record.activation_sites is None else record.activation_sites
    sites = f"{len(record.neurons)} {kinds} layers for {known} activation sites"
    readout = "" if record.readout.decay == 1 else f"{record.readout.kind} readout of decay {number(record.readout.decay)}, "
    return f"T = {record.time_steps}, {record.encoder} encoding, {readout}{sites}"


def settings_told(record: Record) -> str:
    return ", ".join(f"{key} {number(value)}" for key, value in record.settings.items())


def coverage_told(record: Record) -> tuple[str, str]:
    """How much is the teacher's: in tensors, in values."""
    found = record.coverage
    return (
        f"{found.tensors:,} of {found.of_tensors:,} tensors ({found.percent_of_tensors} %)",
        f"{found.parameters:,} of {found.of_parameters:,} values ({found.percent_of_parameters} %)",
    )


def normalisation_told(record: Record) -> str:
    known = record.normalisation
    return str(known["name"]) if known else "not known yet; training or evaluating finds it"


def training_told(training: Mapping[str, Any]) -> str:
    """What a student was trained with since it was converted."""
    if not training:
        return "not trained yet"
    metrics = training["metrics"]
    how = "distilled from a teacher" if training["teacher_sha256"] else "without a teacher"
    return (
        f"{metrics['epoch']} epochs on {training['train_images']:,} images of {training['dataset']}, {how}; top-1 "
        f"{metrics['test_top1_percent']:.2f} % of {training['test_images']:,} test images, loss {metrics['test_loss']:.4f}"
    )


def balance_told(balance: Balance) -> str:
    """``max of the currents that 256 images of cifar10 give, direct encoding, 100 steps: thresholds 0.8 to 3.2``."""
    values = [row.v_threshold for row in balance.thresholds]
    images = f"{balance.images:,} training images of {balance.data}"
    shown = f"{balance.rule} of the currents that {images} give, {balance.encoder} encoding, {balance.steps:,} steps"
    return f"{shown}: thresholds {min(values):.3g} to {max(values):.3g}"


def curve_told(curve: Curve) -> str:
    """``71.6 % without spikes; T=1 10.0, T=10 55.2, T=100 71.0, of 500 test images``."""
    wanted = {1, 10, 100, 1000, curve.steps[-1]}
    told = [f"T={step} {top1:.2f}" for step, top1 in zip(curve.steps, curve.top1, strict=True) if step in wanted]
    return f"{curve.ann_top1:.2f} % without spikes; {', '.join(told)}, of {curve.images:,} test images"


def neuron_told(settings: Mapping[str, Any]) -> str:
    """``lif, v_threshold 0.5, decay 0.25, hard reset, rectangle surrogate of half-width 0.5``."""
    told = "{kind}, v_threshold {v_threshold:g}, decay {decay:g}, {reset} reset, {surrogate} surrogate of half-width {width:g}"
    learnt = [key.removeprefix("learn_") for key, value in settings.items() if key.startswith("learn_") and value]
    if (damping := settings.get("damping", 1)) != 1:
        told += f" damped by {damping:g}"
    return told.format(**settings) + (f", learns its {' and '.join(learnt)}" if learnt else "")


def alike(neurons: Iterable[Neuron]) -> list[tuple[str, list[tuple[int, str, str]]]]:
    """Runs of neuron layers of equal settings, and in each the runs of one shape: how many, the shape, their names."""
    found = []
    for told, same in groupby(neurons, key=lambda neuron: neuron_told(neuron.settings)):
        rows = []
        for shape, run in groupby(same, key=lambda neuron: neuron.shape):
            names = [neuron.name for neuron in run]
            rows.append((len(names), dims(shape), names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"))
        found.append((told, rows))
    return found


def fresh(record: Record) -> list[tuple[str, str]]:
    """Name and reason of each tensor of the student that took nothing from the teacher."""
    return [(tensor.target, tensor.reason) for tensor in record.tensors if tensor.source is None]


def added(record: Record) -> list[tuple[str, str]]:
    """Name of each tensor that the conversion did not write, and that."""
    return [(tensor.target, ADDED) for tensor in record.added]


def unused(record: Record) -> list[tuple[str, str]]:
    """Name and reason of each tensor of the teacher that the student took nothing from."""
    return [(row.source, row.reason) for row in record.unused]


def grouped(named: Iterable[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Names by reason, reasons that differ in the block alone as one."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, reason in named:
        found.setdefault(_BLOCK.sub("{}", reason), []).append((name, reason))
    rows = []
    for pattern, same in found.items():
        blocks = dict.fromkeys((int(s), int(b)) for _, reason in same for s, b in _BLOCK.findall(reason))
        rows.append(([name for name, _ in same], pattern.replace("{}", block_list(list(blocks)))))
    return rows


def names_told(names: Sequence[str]) -> str:
    """``a, b``, or ``60 tensors (a, ...)``."""
    return ", ".join(names) if len(names) <= FEW_NAMES else f"{len(names)} tensors ({names[0]}, ...)"


def block_list(blocks: Sequence[tuple[int, int]]) -> str:
    """``(1, 0), (1, 1), (1, 2), (3, 0)`` -> ``stage1.block0-2, stage3.block0``."""
    told = []
    for stage, members in groupby(sorted(blocks), key=lambda block: block[0]):
        numbers = [number for _, number in members]
        runs = [list(run) for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
        ends = [(run[0][1], run[-1][1]) for run in runs]
        told.append(f"stage{stage}.block" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ends))
    return ", ".join(told)


def dims(shape: Sequence[int], times: str = "x") -> str:
    """``64x32x3x3``."""
    return times.join(map(str, shape))


def number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
