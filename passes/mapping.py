"""What a checkpoint keeps of its conversion: where everything came from, as JSON-native values."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from idsnn_convert.passes.cautions import Caution, cautions, differences, doubts
from idsnn_convert.passes.match import StagePlan
from idsnn_convert.passes.sites import sites
from idsnn_convert.passes.taps import taps
from idsnn_convert.passes.types import Block, BlockMap, Target, Teacher
from idsnn_convert.passes.verify import Check
from idsnn_convert.passes.weightmap import TensorMap, WeightMap
from idsnn_convert.runtime.graph import Graph

BINS = 24
"""Bins of a histogram, of equal width from the least value to the greatest."""
LOOKED_AT = 1 << 16
"""Most values of a tensor that its histogram counts: a picture 24 bins wide shows no more."""


@dataclass(frozen=True)
class Made:
    """A conversion about to be written: what each pass gave, and the settings to record."""

    plan: StagePlan
    weights: WeightMap
    target: Target
    spiking: Graph
    tensors: Mapping[str, Tensor]
    teacher: Teacher
    checks: tuple[Check, ...]
    settings: Mapping[str, Any]

    def mapping(self) -> dict[str, Any]:
        """The whole mapping; the teacher's tensors go by their names in its file."""
        plan, target, teacher = self.plan, self.target.graph, self.teacher
        return {
            "target": self.target.name,
            "settings": dict(self.settings),
            "activation_sites": len(target.of("activation")),
            "cautions": [asdict(caution) for caution in self._cautions()],
            "stages": {"teacher": stages(plan.source, teacher.graph), "target": stages(plan.target, target)},
            "pairs": [
                {
                    "target": pair.target.name,
                    "source": pair.source.name,
                    "target_stage": pair.target_stage,
                    "source_stage": pair.source_stage,
                    "rule": plan.rule,
                }
                for pair in plan.pairs
            ],
            "tensors": [self._row(entry) for entry in self.weights.tensors],
            "unused": [*self._unused(), *({"source": name, "reason": reason} for name, reason in teacher.unread.items())],
            "taps": [asdict(tap) for tap in taps(plan, target, self.spiking, teacher.graph)],
            "sites": [asdict(site) for site in sites(plan, target, self.spiking, teacher.graph)],
            "checks": [asdict(check) for check in self.checks],
        }

    def _cautions(self) -> tuple[Caution, ...]:
        teacher, target = self.teacher.graph, self.target.graph
        told = cautions(teacher, self.plan.source, target) + differences(self.plan, self.weights, teacher, target)
        return (*doubts(self.teacher), *told)

    def _row(self, entry: TensorMap) -> dict[str, Any]:
        """One tensor's line; ``sha256`` is of its float32 bytes in the checkpoint, ``source_sha256`` of the source's."""
        source = None if entry.source is None else self.teacher.tensors[entry.source]
        target = digest(self.tensors[entry.target])
        return {
            "target": entry.target,
            "source": None if entry.source is None else self.teacher.keys[entry.source],
            "rule": entry.rule,
            "status": entry.status,
            "source_shape": None if entry.source_shape is None else list(entry.source_shape),
            "target_shape": list(entry.target_shape),
            "repeats": None if entry.repeats is None else list(entry.repeats),
            "place": entry.place,
            "source_place": self._place(entry.source),
            "reason": entry.reason,
            "sha256": target,
            "source_sha256": None if source is None else target if self._unchanged(entry) else digest(source),
            "source_histogram": None if source is None else histogram(source),
        }

    def _unchanged(self, entry: TensorMap) -> bool:
        """Whether the target's bytes are the source's, so that they need not be hashed twice: checked, and scaled by one."""
        return entry.source is not None and entry.source_shape == entry.target_shape

    def _unused(self) -> list[dict[str, Any]]:
        """The teacher's tensors that no target tensor takes, each with its reason."""
        return [
            {
                "source": self.teacher.keys[name],
                "reason": reason,
                "shape": list(self.teacher.tensors[name].shape),
                "place": self._place(name),
            }
            for name, reason in self.weights.unused.items()
        ]

    def _place(self, source: str | None) -> str | None:
        return None if source is None else self.plan.source.places[source.rpartition(".")[0]]


def origin(teacher: Teacher) -> dict[str, Any]:
    """What the teacher was: without the folder that its file lay in, nor its tensors."""
    return {
        "file": teacher.path.replace("\\", "/").rpartition("/")[2],
        "sha256": teacher.sha256,
        "form": teacher.form,
        "family": teacher.family,
        "arch": teacher.arch,
        "classes": teacher.classes,
        "input_shape": list(teacher.input_shape),
        "assumptions": list(teacher.assumptions),
        "evidence": dict(teacher.evidence),
    }


def stages(blocks: BlockMap, graph: Graph) -> list[dict[str, Any]]:
    """A network's stages of residual blocks; ``source`` is where the block's paths join, ``resnet.py:93``, if known."""
    return [
        {
            "shape": list(stage.shape),
            "blocks": [
                {
                    "name": block.name,
                    "join": block.join,
                    "convolutions": sum(graph[name].op == "conv2d" for name in block.branch),
                    "shortcut": _shortcut(block, graph),
                    "source": graph[block.join].source,
                }
                for block in stage.blocks
            ],
        }
        for stage in blocks.stages
    ]


def _shortcut(block: Block, graph: Graph) -> str:
    ops = [graph[name].op for name in block.shortcut]
    telling = {"conv2d": "projection", "pad": "pad"}
    return next((word for op, word in telling.items() if op in ops), "+".join(dict.fromkeys(ops)) or "identity")


def digest(tensor: Tensor) -> str:
    """sha256 of the tensor's float32 bytes, little-endian, last axis fastest; hexadecimal."""
    return hashlib.sha256(tensor.contiguous().numpy().data).hexdigest()


def histogram(tensor: Tensor) -> dict[str, Any]:
    """How many of the tensor's finite values fall into each of :data:`BINS` bins from ``low`` to ``high``, the least and
    greatest of all of them. Of more than :data:`LOOKED_AT` values, evenly chosen ones are counted.

    One bin of all where they are equal; no bin where none is finite.
    """
    values, (low, high) = tensor, _ends(tensor)
    if not (math.isfinite(low) and math.isfinite(high)):  # as they are where any value is not
        values = tensor[tensor.isfinite()]
        low, high = _ends(values)
    if not values.numel():
        return {"low": 0.0, "high": 0.0, "counts": []}
    some = values.flatten()[:: _stride(values.numel())]
    counts = [some.numel()] if low == high else some.histc(BINS, low, high).int().tolist()
    return {"low": low, "high": high, "counts": counts}


def _ends(values: Tensor) -> tuple[float, float]:
    """The least and the greatest; NaN where one is."""
    if not values.numel():
        return 0.0, 0.0
    low, high = values.aminmax()
    return low.item(), high.item()


def _stride(count: int) -> int:
    """Leaves at most :data:`LOOKED_AT` of ``count`` values; shares no factor with the usual sizes of kernels and channels."""
    stride = -(-count // LOOKED_AT)
    while math.gcd(stride, 2 * 3 * 5 * 7) > 1:
        stride += 1
    return stride
