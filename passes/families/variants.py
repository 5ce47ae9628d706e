"""The other networks that the tensors of a recognised one fit: what names and shapes leave open, one choice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from torch import Tensor

from idsnn_convert.passes.equal import Reference, watched
from idsnn_convert.passes.families.recognise import assumptions, readable
from idsnn_convert.passes.families.structure import window_of
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.module import outline
from idsnn_convert.passes.resnet.spec import AFTER_ADD, PADDED, ResNetSpec, Stem
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph

LEAST_SIZE = 32
"""Height and width of images that every stem and stage leaves something of."""


def variants(spec: ResNetSpec) -> list[ResNetSpec]:
    """The networks that differ from ``spec`` in one thing that shapes do not tell, and compute something else.

    Where it is is open: the stride, padding and pool of the stem; whether the last stage strides; which convolution of a
    block does; which adds are followed by a ReLU; how shortcuts without weights bring their input to shape.
    """
    kept = []
    seen = [_shape_of(graph_of(spec))]
    for changed in _changed(spec):
        try:
            fitting = replace(changed, window=window_of(changed, spec.features))
        except UserError:  # its classifier would read another number of features
            continue
        shape = _shape_of(graph_of(fitting))
        if shape not in seen:
            seen.append(shape)
            kept.append(fitting)
    return kept


def _changed(spec: ResNetSpec) -> Iterator[ResNetSpec]:
    for stem in _stems(spec.stem):
        yield from _valid(spec, stem=stem)
    if len(spec.strides) > 1:
        last = 1 if spec.strides[-1] > 1 else 2
        yield from _valid(spec, strides=(*spec.strides[:-1], last))
    for place in ("3x3", "1x1", "last"):
        if place != "1x1" or spec.block.endswith("bottleneck"):
            yield from _valid(spec, stride_at=place)
    if not spec.preact:
        for where in AFTER_ADD:
            yield from _valid(spec, after_add=where)
    if spec.shortcut in PADDED:
        for kind in PADDED:
            yield from _valid(spec, shortcut=kind)


def _stems(stem: Stem) -> Iterator[Stem]:
    for stride in (1, 2):
        for pool in (False, True):
            yield replace(stem, stride=stride, pool=pool)
    yield replace(stem, padding=stem.kernel if stem.padding != stem.kernel else stem.kernel // 2)


def _valid(spec: ResNetSpec, **change: object) -> Iterator[ResNetSpec]:
    try:
        yield replace(spec, **change)  # type: ignore[arg-type]
    except UserError:  # no such network: images too small, say
        return


def differences(spec: ResNetSpec, other: ResNetSpec) -> tuple[str, ...]:
    """What ``other`` is and ``spec`` is not, of all that shapes do not tell, one sentence each."""
    ours = readable(spec)
    return tuple(sentence for sentence in readable(other) if sentence not in ours)


def read_as(teacher: Teacher, spec: ResNetSpec) -> Teacher:
    """``teacher`` read as ``spec``, which its tensors fit; what was assumed of the network is told anew."""
    if teacher.spec is None:
        raise ValueError(f"{teacher.path} carries its own graph")
    before = assumptions(teacher.spec)
    notes = [sentence for sentence in teacher.assumptions if sentence not in before]
    read = replace(teacher, spec=spec, graph=graph_of(spec), reference=rebuilt(spec, teacher.tensors))
    return replace(read, assumptions=(*notes, *assumptions(spec)))


@lru_cache(maxsize=64)
def graph_of(spec: ResNetSpec) -> Graph:
    """The canonical graph of the network ``spec`` describes."""
    return trace_known(outline(spec), spec.input_shape).graph.without_sources()


def rebuilt(spec: ResNetSpec, tensors: Mapping[str, Tensor]) -> Reference:
    """The module that ``spec`` describes, with ``tensors``: a state dict's network run without its graph.

    On small images where the head takes any: the same layers run, in less time.
    """
    size = spec.input_size if spec.window else min(spec.input_size, LEAST_SIZE)
    shape = (spec.in_channels, size, size)

    def run(images: Tensor) -> Mapping[str, Tensor]:
        return watched(outline(spec), images, tensors)

    return Reference("the module its names and shapes describe", shape, run)


def _shape_of(graph: Graph) -> list[object]:
    return [(node.name, node.op, node.inputs, node.attrs) for node in graph]
