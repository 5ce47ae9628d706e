"""A teacher with its batch norms folded into the convolutions before them, see :mod:`idsnn_convert.runtime.fold`.

Contract: computes the same function in evaluation mode, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from idsnn_convert.passes.equal import Reference
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.fold import fold


def folded(teacher: Teacher) -> Teacher:
    """``teacher`` without the norms that could be folded, each of whose tensors is listed as unread with what it went into.

    A convolution's tensors go by their names in the file, and a bias that it did not have by that of the norm's; the values
    are no longer the file's.
    """
    graph, tensors = fold(teacher.graph, teacher.tensors)
    norms = {norm.name: norm.inputs[0] for norm in teacher.graph.of("batch_norm") if norm.name not in graph.by_name}
    if not norms:
        return teacher
    biases = {f"{conv}.bias": f"{norm}.bias" for norm, conv in norms.items()}
    keys = {name: teacher.keys.get(name) or teacher.keys.get(biases[name], name) for name in tensors}
    gone = [name for name in teacher.tensors if name not in tensors and teacher.keys[name] not in keys.values()]
    told = {teacher.keys[name]: f"folded into {norms[name.rpartition('.')[0]]}" for name in gone}
    reference = None if teacher.reference is None else _without(teacher.reference, norms)
    return replace(teacher, graph=graph, tensors=tensors, keys=keys, unread={**teacher.unread, **told}, reference=reference)


def _without(reference: Reference, norms: Mapping[str, str]) -> Reference:
    """The same teacher, told what each norm gives as what its convolution now does."""
    convs = {conv: norm for norm, conv in norms.items()}

    def run(images: Tensor) -> Mapping[str, Tensor]:
        seen = reference.run(images)
        kept = {name: value for name, value in seen.items() if name not in norms and name not in convs}
        return {**kept, **{conv: seen[norm] for conv, norm in convs.items() if norm in seen}}

    return replace(reference, run=run)
