"""A trained network without neurons in one safetensors file with its graph: a teacher that is read without a guess.

``idsnn teach`` writes such files. The metadata has a single key, ``idsnn_ann``; see
:mod:`idsnn_convert.runtime.described` for the form. Tensors bear the graph's names, which of a named architecture are
those of torchvision's state dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from idsnn_convert.runtime import described
from idsnn_convert.runtime import graph as graphs
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph

FORMAT_VERSION = 1
KEY = "idsnn_ann"


@dataclass(frozen=True)
class AnnFile:
    """All that such a file says.

    Attributes:
        arch: what the network is called: ``resnet34``.
        tensors: ``node.slot`` -> float32 tensor, as the graph declares them.
        normalisation: ``{"name", "mean", "std"}`` of the images it was trained on; None if not known.
        training, provenance: how it was made, JSON-native; opaque here.
    """

    arch: str
    graph: Graph
    tensors: Mapping[str, Tensor]
    normalisation: Mapping[str, Any] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def save_ann(path: Path, ann: AnnFile) -> None:
    """Writes the file, all or nothing.

    Raises:
        UserError: if the tensors do not fit the graph or the place cannot be written.
    """
    facts = {
        "format_version": FORMAT_VERSION,
        "arch": ann.arch,
        "graph": graphs.to_json(ann.graph),
        "normalisation": ann.normalisation,
        "training": ann.training,
        "provenance": ann.provenance,
    }
    described.write(path, KEY, ann.graph, facts, ann.tensors)


def is_ann_file(path: Path) -> bool:
    """Whether the file is a safetensors file that carries the description of a network without neurons."""
    return described.carries(path, KEY)


def read_ann(path: Path) -> AnnFile:
    """What is in ``path``, every part checked.

    Raises:
        UserError: if the file is missing, cut short, no such file, of a newer format, or contradicts itself.
    """
    absent = UserError(f"{path} is a safetensors file that does not describe its network")
    found, tensors = described.read(path, KEY, "network file", _from_metadata, absent)
    return replace(found, tensors=tensors)


def _from_metadata(data: Any) -> AnnFile:
    """The file of this description, its tensors still missing."""
    graph, normalisation = described.parsed_head(data, FORMAT_VERSION)
    if not isinstance(arch := data.get("arch"), str):
        raise UserError(f"arch is {arch!r:.80}, not a name")
    if graph.of("neuron"):
        raise UserError("its graph has neurons, which a network of this kind has not")
    return AnnFile(arch, graph, {}, normalisation, **described.parsed_objects(data, "training", "provenance"))
