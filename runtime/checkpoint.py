"""The SNN checkpoint: one safetensors file that holds tensors, graph, neurons' settings and provenance.

The metadata has a single key, ``idsnn``, with canonical JSON (sorted keys, no spaces), so that equal content
gives equal bytes. Reading checks everything against the graph before a tensor is allocated, and runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from idsnn_convert.runtime import graph as graphs
from idsnn_convert.runtime.encoders import ENCODERS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import replacing
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.neurons import checked, learnt
from idsnn_convert.runtime.ops import check, tensor_shapes
from idsnn_convert.runtime.readout import Readout, readout_from_json

FORMAT_VERSION = 1
KEY = "idsnn"
LARGEST_METADATA = 64 << 20
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


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file, all or nothing.

    Raises:
        UserError: if the tensors do not fit the graph or the place cannot be written.
    """
    _check_tensors(path, {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}, checkpoint.graph)
    text = json.dumps(checkpoint.metadata(), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    with replacing(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}, part, {KEY: text})


def is_checkpoint(path: Path) -> bool:
    """Whether the file is a safetensors file that carries a spiking network's description."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return 2 <= length <= LARGEST_METADATA and f'"{KEY}":'.encode() in file.read(length)
    except OSError:
        return False


def read(path: Path) -> Checkpoint:
    """The checkpoint in ``path``, every part checked.

    Raises:
        UserError: if the file is missing, cut short, no checkpoint, of a newer format, or contradicts itself.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            described = _described(path, file.metadata() or {})
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            kinds = {name: file.get_slice(name).get_dtype() for name in shapes}
            _check_tensors(path, shapes, described.graph)
            if odd := [name for name, kind in kinds.items() if kind != "F32"]:
                raise UserError(f"{path}: tensor {odd[0]!r} is stored as {kinds[odd[0]]}, not as F32")
            return replace(described, tensors={name: file.get_tensor(name) for name in tensor_shapes(described.graph)})
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is no readable SNN checkpoint: {error}", hint="Is the file complete? idsnn-convert writes such files."
        ) from error


def _described(path: Path, metadata: Mapping[str, str]) -> Checkpoint:
    """The checkpoint of this metadata, its tensors still missing."""
    if KEY not in metadata:
        hint = "It may be a teacher: idsnn-convert makes a checkpoint of it."
        raise UserError(f"{path} is a safetensors file, but holds no spiking network", hint=hint)
    if len(metadata[KEY]) > LARGEST_METADATA:
        raise UserError(f"{path}: its description is {len(metadata[KEY]):,} bytes long; at most {LARGEST_METADATA:,} are read")
    try:
        data = json.loads(metadata[KEY], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: its description is no valid JSON ({error})") from error
    try:
        return _from_metadata(data)
    except UserError as error:
        raise UserError(f"{path}: {error.problem}", hint=error.hint) from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _from_metadata(data: Any) -> Checkpoint:
    if not isinstance(data, dict):
        raise UserError("its description is no JSON object")
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        problem = f"format version {version!r} is not one this release reads ({FORMAT_VERSION})"
        raise UserError(problem, hint="Is there a newer idsnn-convert?")
    graph = graphs.from_json(data.get("graph"))
    check(graph)
    for node in graph.of("neuron"):
        checked(node.attrs)
    steps, encoder, normalisation = data.get("time_steps"), data.get("encoder"), data.get("normalisation")
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MOST_TIME_STEPS:
        raise UserError(f"time_steps is {steps!r}, not a whole number from 1 to {MOST_TIME_STEPS:,}")
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        raise UserError(f"unknown encoder {encoder!r}", hint=f"Known: {', '.join(ENCODERS)}.")
    if normalisation is not None and not isinstance(normalisation, dict):
        raise UserError(f"normalisation is {normalisation!r:.80}, not an object or null")
    parts = {key: data.get(key) for key in ("mapping", "teacher", "provenance", "training")}
    if wrong := [key for key, value in parts.items() if not isinstance(value, dict)]:
        raise UserError(f"{wrong[0]!r} is missing from its description or no object")
    readout = readout_from_json(data["readout"]) if "readout" in data else Readout()
    return Checkpoint(graph, {}, steps, encoder, readout, normalisation, **parts)  # type: ignore[arg-type]


def _check_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]], graph: Graph) -> None:
    needed = tensor_shapes(graph)
    for name in sorted(needed.keys() | shapes.keys()):
        if name not in shapes:
            raise UserError(f"{path}: tensor {name!r} is missing; the graph needs it")
        if name not in needed:
            raise UserError(f"{path}: tensor {name!r} belongs to no node of the graph")
        if shapes[name] != needed[name]:
            raise UserError(f"{path}: tensor {name!r} has shape {shapes[name]}, the graph needs {needed[name]}")
