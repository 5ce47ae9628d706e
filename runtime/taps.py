"""Losses between a student's maps and its teacher's, and the pairs of nodes that give them.

Letters: B batch, C channels, H height, W width. The student's maps are its spikes' mean over time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph

TapLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TapPair:
    """Names of a node of the student and the teacher's node it is compared with."""

    student: str
    teacher: str


def attention_map(maps: Tensor) -> Tensor:
    """Where a layer is active: mean over channels of the squared map, flattened, of l2 norm 1. (B, C, H, W) -> (B, H W).

    LaSNN eq. 5-6, after attention transfer (Zagoruyko & Komodakis 2017).
    """
    return F.normalize(maps.square().mean(1).flatten(1), dim=1)


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """l2 distance of the two attention maps, mean over the batch (LaSNN eq. 7); the numbers of channels may differ."""
    student, teacher = _of_one_size(student, teacher)
    distances: Tensor = torch.linalg.vector_norm(attention_map(student) - attention_map(teacher), dim=1)
    return distances.mean()


def mean_squared(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of the squared differences; for teachers whose activations lie between 0 and 1 as firing rates do."""
    student, teacher = _of_one_size(student, teacher)
    return F.mse_loss(student, teacher)


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the angle between the two maps of each image, mean over the batch: whatever the teacher's scale."""
    student, teacher = _of_one_size(student, teacher)
    return 1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1)).mean()


def sensitivity_map(maps: Tensor) -> Tensor:
    """Where an answer hangs on a map: the sum over channels of the magnitudes, (B, C, H, W) -> (B, 1, H, W)."""
    return maps.abs().sum(1, keepdim=True)


def gradient(student: Tensor, teacher: Tensor) -> Tensor:
    """l2 distance of the student's spike activation map and the teacher's gradient, as maps of l2 norm 1, mean over the batch
    (LaSNN eq. 10-12).

    Args:
        student: see :mod:`idsnn_convert.runtime.spike_map`; 0 or more everywhere.
        teacher: the gradient of the teacher's cross-entropy with respect to its own map, (B, C, H, W).
    """
    ours, theirs = (F.normalize(x.flatten(1), dim=1) for x in _of_one_size(sensitivity_map(student), sensitivity_map(teacher)))
    distances: Tensor = torch.linalg.vector_norm(ours - theirs, dim=1)
    return distances.mean()


TAP_LOSSES: dict[str, TapLoss] = {
    "attention": attention,
    "mse": mean_squared,
    "cosine": cosine,
    "gradient": gradient,
}
"""Name in a recipe -> loss of the student's and the teacher's maps (B, C, H, W)."""

BY_CHANNEL = ("mse", "cosine")
"""The losses that need equal channels."""


def tap_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], kind: str) -> Tensor:
    """The sum over all pairs of maps.

    Raises:
        ValueError: if there are none.
    """
    if not student:
        raise ValueError("there are no maps to compare: build student and teacher with taps")
    function = TAP_LOSSES[kind]
    return torch.stack([function(s.float(), t.float()) for s, t in zip(student, teacher, strict=True)]).sum()


def _of_one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps averaged down to the smaller height and the smaller width."""
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    first, second = (x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in (student, teacher))
    return first, second


def named_taps(pairs: Sequence[str]) -> list[dict[str, str]]:
    """``"student's node = teacher's node"`` as rows that :func:`read_taps` reads.

    Raises:
        UserError: on a text that names no two nodes.
    """
    rows = []
    for pair in pairs:
        student, equals, teacher = (part.strip() for part in pair.partition("="))
        if not (student and equals and teacher):
            raise UserError(f"loss.taps: {pair!r} names no two nodes", hint="Such as 'layer1.0.lif2 = layer1.4.relu'.")
        rows.append({"student": student, "teacher": teacher})
    return rows


def read_taps(mapping: Mapping[str, Any], student: Graph, teacher: Graph, kind: str) -> tuple[TapPair, ...]:
    """The pairs in the ``taps`` of ``mapping``, such as a conversion records, held against both networks.

    Raises:
        UserError: if there are none, if a network lacks a node, or if ``kind`` cannot compare what two of them give.
    """
    rows = mapping.get("taps")
    if not isinstance(rows, list) or not rows:
        hint = "Convert the teacher again with this release, or set loss.taps=levels or loss.tap_weight=0."
        raise UserError("the checkpoint does not say which maps of student and teacher belong together", hint=hint)
    return tuple(_pair(row, student, teacher, kind) for row in rows)


def _pair(row: Any, student: Graph, teacher: Graph, kind: str) -> TapPair:
    names = [row.get(who) if isinstance(row, dict) else None for who in ("student", "teacher")]
    for who, name, graph in zip(("student", "teacher"), names, (student, teacher), strict=True):
        if not isinstance(name, str) or name not in graph.by_name or len(graph[name].shape) != 3:
            hint = "Set loss.taps=levels for any teacher, or name the one that the student was converted from."
            raise UserError(f"the {who} has no map {name!r} to compare feature maps at", hint=hint)
    ours, theirs = student[str(names[0])], teacher[str(names[1])]
    if kind in BY_CHANNEL and ours.shape[0] != theirs.shape[0]:
        told = f"{ours.name!r} of the student has {ours.shape[0]} channels, {theirs.name!r} of the teacher {theirs.shape[0]}"
        raise UserError(f"loss.tap={kind} needs equal channels: {told}", hint="Set loss.tap=attention, which does not.")
    return TapPair(ours.name, theirs.name)
