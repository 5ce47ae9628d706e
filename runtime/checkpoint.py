"""The SNN checkpoint: one safetensors file that holds tensors, graph, neurons' settings and provenance.

The metadata has a single key, ``idsnn``; see :mod:`idsnn_convert.runtime.described` for the form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from idsnn_convert.runtime import described
from idsnn_convert.runtime import graph as graphs
from idsnn_convert.runtime.encoders import ENCODERS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.neurons import checked, learnt
from idsnn_convert.runtime.readout import Readout, readout_from_json

FORMAT_VERSION = 1
KEY = "idsnn"
WHAT = "SNN checkpoint"
MOST_TIME_STEPS = 100_000


@dataclass(frozen=True)
class Checkpoint:
    """All that a checkpoint file says.

    Attributes:
        tensors: ``node.slot`` -> float32 tensor, as the graph declares them.
        encoder: name of the encoder, see :data:`idsnn_convert.runtime.encoders.ENCODERS`.
        readout: how the steps' logits become one answer; written only if it is not the mean.
        normalisation: ``{"name", "mean", "std"}`` the network expects its images under; None if not known yet.
        mapping: where each tensor came from, as the conversion wrote it; opaque here.
        teacher: what it was converted from; opaque here.
        training: what it was trained with so far; empty after conversion; opaque here.
    """

    graph: Graph
    tensors: Mapping[str, Tensor]
    time_steps: int
    encoder: str = "direct"
    readout: Readout = field(default_factory=Readout)
    normalisation: Mapping[str, Any] | None = None
    mapping: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def neurons(self) -> list[dict[str, Any]]:
        """One row a neuron layer, in graph order: its name, settings and (C, H, W) or (features,) shape.

        What it learns is given as it stands, not as it began.
        """
        rows = []
        for node in self.graph.of("neuron"):
            neuron = learnt(checked(node.attrs), node.name, self.tensors)
            rows.append({"name": node.name, **neuron.attrs(), "tau": _finite(neuron.tau), "shape": list(node.shape)})
        return rows

    def metadata(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON-native values."""
        readout = {} if self.readout == Readout() else {"readout": self.readout.to_json()}
        return {
            "format_version": FORMAT_VERSION,
            "graph": graphs.to_json(self.graph),
            "time_steps": self.time_steps,
            "encoder": self.encoder,
            **readout,
            "normalisation": self.normalisation,
            "mapping": self.mapping,
            "teacher": self.teacher,
            "provenance": self.provenance,
            "training": self.training,
        }

    def with_tensors(self, tensors: Mapping[str, Tensor], **changes: Any) -> Checkpoint:
        """A copy that holds ``tensors`` (same names and shapes) and the given changed fields."""
        return replace(self, tensors=tensors, **changes)


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def save(path: str | Path, checkpoint: Checkpoint) -> None:
    """Writes the file, all or nothing.

    Raises:
        UserError: if the tensors do not fit the graph or the place cannot be written.
    """
    described.write(Path(path), KEY, checkpoint.graph, checkpoint.metadata(), checkpoint.tensors)


def is_checkpoint(path: Path) -> bool:
    """Whether the file is a safetensors file that carries a spiking network's description."""
    return described.carries(path, KEY)


def read(path: str | Path) -> Checkpoint:
    """The checkpoint in ``path``, every part checked.

    Raises:
        UserError: if the file is missing, cut short, no checkpoint, of a newer format, or contradicts itself.
    """
    found, tensors = described.read(Path(path), KEY, WHAT, _from_metadata, _absent(path))
    return replace(found, tensors=tensors)


def description(path: Path) -> Checkpoint:
    """What :func:`read` gives, without its tensors: they are not looked at.

    Raises:
        UserError: if the file is missing, no checkpoint, of a newer format, or its description contradicts itself.
    """
    return described.description(path, KEY, WHAT, _from_metadata, _absent(path))


def _absent(path: str | Path) -> UserError:
    hint = "It may be a teacher: idsnn-convert makes a checkpoint of it."
    return UserError(f"{path} is a safetensors file, but holds no spiking network", hint=hint)


def _from_metadata(data: Any) -> Checkpoint:
    """The checkpoint of this description, its tensors still missing."""
    graph, normalisation = described.parsed_head(data, FORMAT_VERSION)
    for node in graph.of("neuron"):
        checked(node.attrs)
    steps, encoder = data.get("time_steps"), data.get("encoder")
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MOST_TIME_STEPS:
        raise UserError(f"time_steps is {steps!r}, not a whole number from 1 to {MOST_TIME_STEPS:,}")
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        raise UserError(f"unknown encoder {encoder!r}", hint=f"Known: {', '.join(ENCODERS)}.")
    readout = readout_from_json(data["readout"]) if "readout" in data else Readout()
    parts = described.parsed_objects(data, "mapping", "teacher", "provenance", "training")
    return Checkpoint(graph, {}, steps, encoder, readout, normalisation, **parts)
