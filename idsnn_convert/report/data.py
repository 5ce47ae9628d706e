"""Everything there is to say of a checkpoint or a teacher, as JSON-native values: what ``--json`` prints."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import Any

from idsnn_convert.examine import Diagnosis
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import Checkpoint


def described(checkpoint: Checkpoint) -> dict[str, Any]:
    """A spiking checkpoint: its metadata flattened, its neurons and its coverage."""
    meta, mapping = checkpoint.metadata(), checkpoint.mapping
    rows = mapping.get("tensors", [])
    return {
        "kind": "checkpoint",
        "format_version": meta["format_version"],
        "target": mapping.get("target"),
        "time_steps": checkpoint.time_steps,
        "encoder": checkpoint.encoder,
        "normalisation": checkpoint.normalisation,
        "neurons": checkpoint.neurons,
        "activation_sites": mapping.get("activation_sites"),
        "settings": mapping.get("settings"),
        "coverage": coverage(rows),
        "pairs": mapping.get("pairs", []),
        "tensors": rows,
        "unused": mapping.get("unused", []),
        "checks": mapping.get("checks", []),
        "cautions": mapping.get("cautions", []),
        "teacher": checkpoint.teacher,
        "provenance": checkpoint.provenance,
        "training": checkpoint.training,
        "parameters": sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values()),
        "graph": meta["graph"],
    }


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
    cut = segment(teacher.graph)
    return {
        "kind": "teacher",
        "file": teacher.path,
        "sha256": teacher.sha256,
        "form": teacher.form,
        "family": teacher.family,
        "arch": teacher.arch,
        "input_shape": list(teacher.input_shape),
        "classes": teacher.classes,
        "parameters": sum(tensor.numel() for tensor in teacher.tensors.values()),
        "tensors": len(teacher.tensors),
        "activations": dict(Counter(str(node.attr("kind")) for node in teacher.graph.of("activation"))),
        "stages": [
            {
                "shape": list(stage.shape),
                "blocks": [
                    {
                        "name": block.name,
                        "join": block.join,
                        "convolutions": sum(teacher.graph[name].op == "conv2d" for name in block.branch),
                        "shortcut": _shortcut(teacher, block.shortcut),
                    }
                    for block in stage.blocks
                ],
            }
            for stage in cut.stages
        ],
        "assumptions": list(teacher.assumptions),
        "unread": [{"source": name, "reason": reason} for name, reason in teacher.unread.items()],
    }


def _shortcut(teacher: Teacher, names: tuple[str, ...]) -> str:
    ops = [teacher.graph[name].op for name in names]
    return "identity" if not ops else "projection" if "conv2d" in ops else "+".join(ops)


def diagnosed(found: Diagnosis) -> dict[str, Any]:
    """What ``idsnn doctor`` found."""
    wrong = found.first_wrong
    return {
        "converts": not found.problems,
        "problems": [asdict(problem) for problem in found.problems],
        "cautions": [asdict(caution) for caution in found.cautions],
        "assumptions": list(found.teacher.assumptions) if found.teacher else [],
        "normalisations": [
            {**fit.normalisation.to_json(), "off_by": fit.fit, "crop_padding": fit.crop_padding}
            for fit in (found.choice.fits if found.choice else ())
        ],
        "batch_norms": [asdict(layer) for layer in found.layers],
        "first_disagreeing_batch_norm": wrong.node if wrong else None,
    }
