"""What a conversion must be before it is written: named checks, each with what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from idsnn_convert.passes.equal import TOLERANCE, compare
from idsnn_convert.passes.interpolate import SCALES, equals_rule
from idsnn_convert.passes.types import Teacher
from idsnn_convert.passes.weightmap import WeightMap
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.ops import check, tensor_shapes

SAME_FUNCTION = 1e-5
"""Most difference of the logits of a teacher and its own graph with all its tensors."""


@dataclass(frozen=True)
class Check:
    """One property of the result: what was found, what was wanted."""

    name: str
    found: str
    wanted: str
    passed: bool


def verify(
    ann: Graph,
    spiking: Graph,
    tensors: Mapping[str, Tensor],
    weights: WeightMap,
    teacher: Teacher,
    scale: str = "none",
    corresponds: bool = True,
) -> tuple[Check, ...]:
    """Checks a conversion's result against what it was made from.

    Args:
        ann: the target before its activations became neurons.
        tensors: the result's tensors, to be held against ``weights`` and the teacher.
        corresponds: whether the target has anything in common with the teacher, so that something must have been taken.

    Raises:
        UserError: if the spiking graph breaks the rules of :func:`idsnn_convert.runtime.ops.check`.
    """
    check(spiking)
    needed = tensor_shapes(spiking)
    sites, neurons = len(ann.of("activation")), len(spiking.of("neuron"))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    mapped = [entry for entry in weights.tensors if entry.source is not None]
    unequal = [entry.target for entry in mapped if not _follows_rule(entry.target, str(entry.source), tensors, teacher, scale)]
    infinite = [name for name, tensor in tensors.items() if not _finite(tensor)]
    lost = teacher.tensors.keys() - {entry.source for entry in mapped} - weights.unused.keys()
    return (
        *_equals_teacher(teacher),
        Check("one neuron per activation site", f"{neurons} neurons", f"{sites} sites", neurons == sites > 0),
        Check("tensors fit the graph", f"{len(shapes)} tensors", f"{len(needed)}", shapes == needed),
        Check("mapped tensors equal the index rule", f"{len(mapped) - len(unequal)}", f"{len(mapped)}", not unequal),
        Check(
            "tensors come from the teacher", f"{len(mapped)}", "at least 1" if corresponds else "0", bool(mapped) == corresponds
        ),
        Check("all values are finite", f"{len(infinite)} tensors with NaN or infinity{_first(infinite)}", "0", not infinite),
        *_same_function(ann, tensors, weights, teacher),
        Check("every teacher tensor is used or listed", f"{len(lost)} lost", "0", not lost),
    )


def _equals_teacher(teacher: Teacher) -> tuple[Check, ...]:
    """Before anything spikes: that the graph computes what the teacher does, if that can be run without it."""
    if teacher.reference is None:
        return ()
    found = compare(teacher.graph, teacher.tensors, teacher.reference)
    wanted = f"every node within {TOLERANCE:g} of its largest value"
    return (Check("the canonical graph equals the teacher", found.describe(), wanted, not found.first_different),)


def _same_function(ann: Graph, tensors: Mapping[str, Tensor], weights: WeightMap, teacher: Teacher) -> tuple[Check, ...]:
    """Where the teacher's own graph took all its tensors: that it computes as an ANN what the teacher does."""
    whole = all(entry.source == entry.target for entry in weights.tensors)
    if teacher.reference is None or ann != teacher.graph or not whole:
        return ()
    found = compare(ann, tensors, teacher.reference)
    close = found.max_difference <= SAME_FUNCTION
    return (Check("as an ANN it computes what the teacher does", found.describe(), f"within {SAME_FUNCTION:g}", close),)


def _first(names: list[str]) -> str:
    return f" ({names[0]})" if names else ""


def _finite(tensor: Tensor) -> bool:
    """A finite sum has finite terms; only one that is not is worth the look at each term."""
    return math.isfinite(tensor.sum()) or bool(torch.isfinite(tensor).all())


def _follows_rule(target: str, source: str, tensors: Mapping[str, Tensor], teacher: Teacher, scale: str) -> bool:
    result, origin = tensors[target], teacher.tensors[source]
    factor = SCALES[scale](tuple(origin.shape), tuple(result.shape)) if result.dim() == 4 else 1.0
    return equals_rule(result, origin, factor)


def demand(checks: tuple[Check, ...]) -> None:
    """Refuses a result that failed a check.

    Raises:
        UserError: naming each failed check, what was found and what was wanted.
    """
    if failed := [check for check in checks if not check.passed]:
        told = "; ".join(f"{check.name}: {check.found}, wanted {check.wanted}" for check in failed)
        raise UserError(f"the conversion failed its own checks and was not written: {told}")
