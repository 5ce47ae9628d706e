"""Everything there is to say of a checkpoint or a teacher, as JSON-native values: what ``--json`` prints."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idsnn_convert.passes.cautions import cautions
from idsnn_convert.passes.mapping import stages
from idsnn_convert.passes.match import blocks_if_any
from idsnn_convert.passes.types import Teacher
from idsnn_convert.report.record import Record
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.graph import to_json

if TYPE_CHECKING:
    from idsnn_convert.examine import Diagnosis
    from idsnn_convert.learn import Training
    from idsnn_convert.normalised import Normalised
    from idsnn_convert.runtime.evaluate import Evaluation


def described(checkpoint: Checkpoint, record: Record) -> dict[str, Any]:
    """A spiking checkpoint: its record and its graph."""
    return {**record.model_dump(), "kind": "checkpoint", "graph": to_json(checkpoint.graph)}


def coverage(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How much of the target came from the teacher: in tensors and in their elements."""
    sizes = [math.prod(row["target_shape"]) for row in rows]
    mapped = [size for row, size in zip(rows, sizes, strict=True) if row["source"] is not None]
    return {
        "tensors": len(mapped),
        "of_tensors": len(rows),
        "parameters": sum(mapped),
        "of_parameters": sum(sizes),
        "percent_of_tensors": _percent(len(mapped), len(rows)),
        "percent_of_parameters": _percent(sum(mapped), sum(sizes)),
    }


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def described_teacher(teacher: Teacher) -> dict[str, Any]:
    """A teacher: what it was recognised as, its blocks, its activations, what was assumed."""
    cut = blocks_if_any(teacher.graph)
    return {
        "kind": "teacher",
        "file": teacher.path,
        **_identity(teacher),
        "parameters": sum(tensor.numel() for tensor in teacher.tensors.values()),
        "tensors": len(teacher.tensors),
        "activations": dict(Counter(str(node.attr("kind")) for node in teacher.graph.of("activation"))),
        "stages": stages(cut, teacher.graph),
        "normalisation": teacher.normalisation,
        "assumptions": list(teacher.assumptions),
        "cautions": [asdict(caution) for caution in cautions(teacher.graph, cut, teacher.graph)],
        "unread": [{"source": name, "reason": reason} for name, reason in teacher.unread.items()],
    }


def _identity(teacher: Teacher) -> dict[str, Any]:
    return {
        "sha256": teacher.sha256,
        "form": teacher.form,
        "family": teacher.family,
        "arch": teacher.arch,
        "input_shape": list(teacher.input_shape),
        "classes": teacher.classes,
    }


def described_evaluation(found: Evaluation, chosen: Normalised) -> dict[str, Any]:
    """A measurement: accuracies in percent, loss in nats, and how its images were normalised, and why so."""
    from idsnn_convert.identify import described_ranking

    return {
        "top1": found.top1,
        "loss": found.loss,
        "images_per_second": found.images_per_second,
        "images": found.images,
        "seconds": found.seconds,
        "top1_per_step": list(found.top1_per_step),
        "top5": found.top5,
        "top5_per_step": list(found.top5_per_step),
        "normalisation": chosen.normalisation.name,
        "normalisation_mean": list(chosen.normalisation.mean),
        "normalisation_std": list(chosen.normalisation.std),
        "normalisation_reason": chosen.reason,
        "normalisation_ranking": described_ranking(chosen.considered),
    }


def described_training(training: Training) -> dict[str, Any]:
    """A finished run: accuracies in percent of the test images."""
    result = training.result
    return {
        "best_top1": result.best_top1,
        "best_epoch": result.best_epoch,
        "best": str(result.best),
        "last_top1": result.last_top1,
        "epochs": result.epochs,
        "last": str(result.last),
        "best_ema_top1": result.best_ema_top1,
        "best_ema": result.best_ema and str(result.best_ema),
        "normalisation": training.normalised.normalisation.name,
    }


def described_diagnosis(found: Diagnosis, path: Path) -> dict[str, Any]:
    """What the doctor found: ``converts`` exactly if ``problems`` is empty."""
    return {
        "kind": "diagnosis",
        "file": str(path),
        "converts": found.checkpoint is not None,
        "target": found.target,
        "problems": [asdict(finding) for finding in found.problems],
        "cautions": [asdict(finding) for finding in found.cautions],
        "assumptions": [] if found.teacher is None else list(found.teacher.assumptions),
        "teacher": None if found.teacher is None else _identity(found.teacher),
        "coverage": None if found.checkpoint is None else coverage(found.checkpoint.mapping["tensors"]),
        "neurons": None if found.checkpoint is None else len(found.checkpoint.neurons),
        "data": None if found.identification is None else found.identification.record(),
    }
