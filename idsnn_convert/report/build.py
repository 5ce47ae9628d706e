"""From a checkpoint to its record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from idsnn_convert.passes.convert import RECORDED
from idsnn_convert.passes.mapping import digest, histogram
from idsnn_convert.report.data import coverage
from idsnn_convert.report.record import Added, Coverage, File, Histogram, Neuron, Record, Tensor
from idsnn_convert.runtime.checkpoint import Checkpoint

SETTINGS = ("target", "stem", "downsample", "width", "block")
"""Those of the target; the others are a conversion's."""


def recorded(checkpoint: Checkpoint, path: Path | None = None, *, as_made: bool = False) -> Record:
    """The record of a student.

    Args:
        path: the student's file; None if there is none, or nobody asks for its digest.
        as_made: the tensors are those that the conversion made in this process, so its digests of them are not taken again.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: if its mapping is not as a conversion of this release writes it.
    """
    mapping, made = checkpoint.mapping, checkpoint.provenance
    rows = mapping.get("tensors", [])
    facts = {key: mapping[key] for key in ("cautions", "checks", "stages", "pairs", "unused") if key in mapping}
    return Record.model_validate(
        {
            "target": mapping.get("target", "network"),
            "student": None if path is None else _file(path),
            "teacher": dict(checkpoint.teacher),
            "command": made.get("command"),
            "versions": made.get("versions", {}),
            "time_steps": checkpoint.time_steps,
            "encoder": checkpoint.encoder,
            "readout": checkpoint.readout.to_json(),
            "normalisation": checkpoint.normalisation,
            "settings": _settings(mapping.get("settings", {})),
            "parameters": sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values()),
            "coverage": Coverage(**coverage(rows)),
            "cautions": [],
            "checks": [],
            "stages": {},
            "pairs": [],
            "unused": [],
            **facts,
            "tensors": [_tensor(checkpoint, row, as_made) for row in rows],
            "added": _added(checkpoint, {row["target"] for row in rows}),
            "activation_sites": mapping.get("activation_sites"),
            "neurons": _neurons(checkpoint),
            "balance": mapping.get("balance"),
            "training": checkpoint.training,
        }
    )


def _settings(found: dict[str, Any]) -> dict[str, Any]:
    """In the order of the command's options: a checkpoint's file holds them by the alphabet."""
    known = [key for key in (*SETTINGS, *RECORDED) if key in found]
    return {key: found[key] for key in (*known, *(key for key in found if key not in known))}


def _file(path: Path) -> File:
    with path.open("rb") as file:
        return File(name=path.name, sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


def _tensor(checkpoint: Checkpoint, row: dict[str, Any], as_made: bool) -> Tensor:
    tensor = checkpoint.tensors[row["target"]]
    now = row["sha256"] if as_made else digest(tensor)
    values = row["source_histogram"] if as_made and now == row["source_sha256"] else histogram(tensor)
    return Tensor(**row, trained=now != row["sha256"], histogram=Histogram(**values))


def _added(checkpoint: Checkpoint, known: Collection[str]) -> list[Added]:
    return [
        Added(target=name, target_shape=list(tensor.shape), sha256=digest(tensor), histogram=Histogram(**histogram(tensor)))
        for name, tensor in checkpoint.tensors.items()
        if name not in known
    ]


def _neurons(checkpoint: Checkpoint) -> list[Neuron]:
    """Neurons by name: those that training changed keep their sites."""
    sites = {site["neuron"]: site for site in checkpoint.mapping.get("sites", [])}
    return [_neuron(row, sites.get(row["name"], {})) for row in checkpoint.neurons]


def _neuron(row: dict[str, Any], site: dict[str, Any]) -> Neuron:
    known = {key: site[key] for key in ("place", "teacher", "teacher_activation", "source") if key in site}
    settings = {key: value for key, value in row.items() if key not in ("name", "shape")}
    return Neuron(name=row["name"], shape=row["shape"], settings=settings, **known)
