"""The passes in order: a teacher and a target in, a spiking checkpoint and its mapping out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from idsnn_convert.passes.cautions import cautions
from idsnn_convert.passes.interpolate import SCALES, interpolate, scaled
from idsnn_convert.passes.match import StagePlan, match
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.spike import spike
from idsnn_convert.passes.types import Canonical, Teacher
from idsnn_convert.passes.verify import Check, demand, verify
from idsnn_convert.passes.weightmap import WeightMap, map_weights
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.encoders import ENCODERS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.neurons import Neuron


@dataclass(frozen=True)
class Settings:
    """What a conversion may choose; recorded in the checkpoint.

    ``seed`` draws the tensors that stay fresh.
    """

    time_steps: int = 4
    encoder: str = "direct"
    neuron: Neuron = field(default_factory=Neuron)
    match: str = "relative"
    scale: str = "none"
    shortcuts: str = "init"
    head: str = "fresh"
    seed: int = 0


RECORDED = ("match", "scale", "shortcuts", "head", "seed")
"""The settings in a checkpoint's mapping; the others stand elsewhere in it."""


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: the checkpoint to write, and how it came about."""

    checkpoint: Checkpoint
    plan: StagePlan
    weights: WeightMap
    checks: tuple[Check, ...]


def convert(
    teacher: Teacher,
    target: Canonical,
    arch: str,
    settings: Settings,
    provenance: Mapping[str, Any],
    target_settings: Mapping[str, str] | None = None,
) -> Conversion:
    """Initialises a spiking ``target`` from ``teacher`` (IDSNN sections 3.2.1-3.2.2).

    Args:
        target: the target as an ANN; only its graph is read.
        arch: the target's name, for the record.
        provenance: what else to record (converter and version, say); JSON-native.
        target_settings: how the target was built, to be recorded with the settings.

    Raises:
        UserError: on a setting that is unknown or does not fit, or a result that fails its checks.
    """
    _check_settings(settings)
    plan = match(segment(target.graph), segment(teacher.graph), settings.match)
    weights = map_weights(plan, target.graph, teacher.graph, shortcuts=settings.shortcuts, head=settings.head)
    spiking = spike(target.graph, settings.neuron)
    tensors = _fill(weights, spiking, teacher, settings)
    checks = verify(target.graph, spiking, tensors, weights, teacher, settings.scale)
    demand(checks)
    checkpoint = Checkpoint(
        graph=spiking,
        tensors=tensors,
        time_steps=settings.time_steps,
        encoder=settings.encoder,
        mapping=_mapping(plan, weights, checks, teacher, target.graph, arch, settings, target_settings or {}),
        teacher=_provenance_of(teacher),
        provenance=dict(provenance),
    )
    return Conversion(checkpoint, plan, weights, checks)


def _check_settings(settings: Settings) -> None:
    for what, value, known in (("scale", settings.scale, SCALES), ("encoder", settings.encoder, ENCODERS)):
        if value not in known:
            raise UserError(f"unknown {what} {value!r}", hint=f"Known: {', '.join(known)}.")
    if settings.time_steps < 1:
        raise UserError(f"time steps must be at least 1, not {settings.time_steps}")


def _fill(weights: WeightMap, graph: Graph, teacher: Teacher, settings: Settings) -> dict[str, Tensor]:
    """The target's tensors, in graph order: looped from the teacher's, or fresh."""
    fresh = fresh_tensors(graph, settings.seed, names=[entry.target for entry in weights.tensors if entry.source is None])
    tensors = {}
    for entry in weights.tensors:
        if entry.source is None:
            tensors[entry.target] = fresh[entry.target]
            continue
        source = teacher.tensors[entry.source]
        tensor = interpolate(source, entry.target_shape)
        if tensor.dim() == 4:
            tensor = scaled(tensor, SCALES[settings.scale](tuple(source.shape), entry.target_shape))
        tensors[entry.target] = tensor
    return tensors


def _mapping(
    plan: StagePlan,
    weights: WeightMap,
    checks: tuple[Check, ...],
    teacher: Teacher,
    target: Graph,
    arch: str,
    settings: Settings,
    target_settings: Mapping[str, str],
) -> dict[str, Any]:
    """The whole mapping as JSON-native values; the teacher's tensors go by their names in its file."""
    rows = [
        {
            "target": entry.target,
            "source": None if entry.source is None else teacher.keys[entry.source],
            "rule": entry.rule,
            "source_shape": None if entry.source_shape is None else list(entry.source_shape),
            "target_shape": list(entry.target_shape),
            "place": entry.place,
            "reason": entry.reason,
        }
        for entry in weights.tensors
    ]
    unused = [{"source": teacher.keys[name], "reason": reason} for name, reason in weights.unused.items()]
    unused += [{"source": name, "reason": reason} for name, reason in teacher.unread.items()]
    pairs = [
        {"target": p.target.name, "source": p.source.name, "target_stage": p.target_stage, "source_stage": p.source_stage}
        for p in plan.pairs
    ]
    return {
        "target": arch,
        "settings": {**target_settings, **{key: getattr(settings, key) for key in RECORDED}},
        "activation_sites": len(target.of("activation")),
        "cautions": [asdict(caution) for caution in cautions(teacher.graph, plan.source)],
        "pairs": pairs,
        "tensors": rows,
        "unused": unused,
        "checks": [{"name": c.name, "found": c.found, "wanted": c.wanted, "passed": c.passed} for c in checks],
    }


def _provenance_of(teacher: Teacher) -> dict[str, Any]:
    return {
        "file": teacher.path.replace("\\", "/").rpartition("/")[2],
        "sha256": teacher.sha256,
        "form": teacher.form,
        "family": teacher.family,
        "arch": teacher.arch,
        "classes": teacher.classes,
        "input_shape": list(teacher.input_shape),
        "assumptions": list(teacher.assumptions),
    }
