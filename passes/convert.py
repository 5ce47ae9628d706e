"""The passes in order: a teacher and a target in, a spiking checkpoint and its mapping out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from idsnn_convert.passes.interpolate import SCALES, interpolate, scaled
from idsnn_convert.passes.mapping import Made, origin
from idsnn_convert.passes.match import UNPAIRED, StagePlan, along, match, onto_itself
from idsnn_convert.passes.match_file import match_named, read_pairs
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.spike import spike
from idsnn_convert.passes.types import Target, Teacher
from idsnn_convert.passes.verify import Check, demand, verify
from idsnn_convert.passes.weightmap import WeightMap, map_same, map_weights
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.encoders import ENCODERS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.neurons import Neuron

USUAL_TIME_STEPS = 4


@dataclass(frozen=True)
class Settings:
    """What a conversion may choose; recorded in the checkpoint.

    Attributes:
        time_steps: None is the file's own where it holds a spiking network that says so, else :data:`USUAL_TIME_STEPS`.
        match: a key of :data:`idsnn_convert.passes.match.RULES`, or a file of pairs, ``FILE.toml``.
        scale: a key of :data:`idsnn_convert.passes.interpolate.SCALES`.
        shortcuts, head: see :func:`idsnn_convert.passes.weightmap.map_weights`; ``head`` may be ``auto``: ``copy`` where the
            target is the teacher's own graph, else ``fresh``.
        seed: draws the tensors that stay fresh.
    """

    time_steps: int | None = None
    encoder: str = "direct"
    neuron: Neuron = field(default_factory=Neuron)
    match: str = "relative"
    scale: str = "none"
    shortcuts: str = "init"
    head: str = "auto"
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


def convert(teacher: Teacher, target: Target, settings: Settings, provenance: Mapping[str, Any]) -> Conversion:
    """Initialises a spiking ``target`` from ``teacher`` (IDSNN sections 3.2.1-3.2.2).

    Args:
        provenance: what else to record (converter and version, say); JSON-native.

    Raises:
        UserError: on a setting that is unknown or does not fit, or a result that fails its checks.
    """
    _check_settings(settings)
    if settings.head == "auto":
        settings = replace(settings, head="copy" if target.same else "fresh")
    plan, weights = _mapped(teacher, target, settings)
    own = teacher.neurons if target.same else {}
    if own and settings.neuron != Neuron():
        problem = f"{teacher.path} holds neurons, which target same takes over as they are"
        raise UserError(problem, hint="Leave out what they should be; idsnn train changes them by recipe (neuron.*).")
    spiking = spike(target.graph, settings.neuron, own)
    tensors = _fill(weights, spiking, teacher, settings)
    checks = verify(target.graph, spiking, tensors, weights, teacher, settings.scale, corresponds=plan.rule != UNPAIRED)
    demand(checks)
    chosen = {key: getattr(settings, key) for key in RECORDED}
    told = Made(plan, weights, target, spiking, tensors, teacher, checks, {**target.settings, **chosen, "match": plan.rule})
    checkpoint = Checkpoint(
        graph=spiking,
        tensors=tensors,
        time_steps=settings.time_steps or teacher.time_steps or USUAL_TIME_STEPS,
        encoder=settings.encoder,
        normalisation=teacher.normalisation,
        mapping=told.mapping(),
        teacher=origin(teacher),
        provenance=dict(provenance),
    )
    return Conversion(checkpoint, plan, weights, checks)


def _mapped(teacher: Teacher, target: Target, settings: Settings) -> tuple[StagePlan, WeightMap]:
    """Block by block; a target that is the teacher's own graph node by node, whatever its blocks; one without blocks layer
    by layer, if the teacher has none either."""
    choices = {"shortcuts": settings.shortcuts, "head": settings.head}
    if target.same:
        plan = onto_itself(teacher.graph)
        return plan, map_same(plan, teacher.graph, **choices)
    ours = segment(target.graph)
    if not ours.stages:
        plan = along(ours, teacher.graph)
        return plan, map_weights(plan, target.graph, teacher.graph, **choices)
    theirs = segment(teacher.graph)
    if settings.match.endswith(".toml"):
        plan = match_named(ours, theirs, read_pairs(Path(settings.match)))
    else:
        plan = match(ours, theirs, settings.match)
    return plan, map_weights(plan, target.graph, teacher.graph, **choices)


def _check_settings(settings: Settings) -> None:
    for what, value, known in (("scale", settings.scale, SCALES), ("encoder", settings.encoder, ENCODERS)):
        if value not in known:
            raise UserError(f"unknown {what} {value!r}", hint=f"Known: {', '.join(known)}.")
    if settings.time_steps is not None and settings.time_steps < 1:
        raise UserError(f"time steps must be at least 1, not {settings.time_steps}")
    if settings.neuron.parameters():
        raise UserError("a conversion makes neurons of fixed numbers", hint="Let them learn by recipe: neuron.learn.")


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
