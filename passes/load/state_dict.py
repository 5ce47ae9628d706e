"""State dicts: the ResNet whose tensors they are, built anew. Files that may also hold a whole network are told apart here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from idsnn_convert.passes.families import Candidate, recognise
from idsnn_convert.passes.families.variants import rebuilt
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.load.ann import load_ann
from idsnn_convert.passes.load.pickled_module import is_library_module, load_pickled
from idsnn_convert.passes.load.safetensors_file import read_safetensors
from idsnn_convert.passes.load.torch_file import read_legacy, read_mapped
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.load.unwrap import State, find_state
from idsnn_convert.passes.load.weights import dtype_name, usable
from idsnn_convert.passes.resnet.module import outline
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.ann_file import is_ann_file
from idsnn_convert.runtime.errors import UserError


def load_archive(request: Request) -> Teacher:
    """A torch.save archive holds a state dict or, less often, a whole model."""
    return load_pickled(request) if is_library_module(request.path) else _read(read_mapped, "state dict", request)


def load_legacy(request: Request) -> Teacher:
    """What torch.save wrote before torch 1.6."""
    return _read(read_legacy, "state dict", request)


def load_safetensors(request: Request) -> Teacher:
    """A state dict, or a network that brings its graph."""
    return load_ann(request) if is_ann_file(request.path) else _read(read_safetensors, "safetensors", request)


def _read(read: Callable[[Path], Any], form: str, request: Request) -> Teacher:
    return state_teacher(read(request.path), form, request)


def state_teacher(content: Any, form: str, request: Request) -> Teacher:
    """The teacher whose tensors ``content`` holds.

    Raises:
        UserError: if it holds none, or those of no known ResNet.
    """
    try:
        return _from_state(find_state(content), form, request)
    except UserError as error:
        raise UserError(f"{request.path}: {error.problem}", hint=error.hint) from error


def _from_state(state: State, form: str, request: Request) -> Teacher:
    candidate = _chosen(recognise(state.tensors, input_size=request.input_size), request.arch)
    traced = trace_known(outline(candidate.spec), candidate.spec.input_shape)
    names = {ours: name for name, ours in candidate.rename.items()}
    source = {slot: names[traced.origin[slot]] for slot in traced.tensors}
    keys = {slot: state.keys[name] for slot, name in source.items()}
    tensors = {slot: usable(keys[slot], slot.rpartition(".")[2], state.tensors[name]) for slot, name in source.items()}
    kinds = sorted({dtype_name(state.tensors[name]) for name in source.values()} - {"float32"})
    notes = (*state.notes, *([f"Weights stored as {' and '.join(kinds)} were converted to float32."] if kinds else []))
    return Teacher(
        path=str(request.path),
        sha256=request.sha256,
        form=form,
        family=candidate.family,
        arch=candidate.spec.name,
        graph=traced.graph.without_sources(),
        tensors=tensors,
        keys=keys,
        unread={**state.unread, **{state.keys[name]: reason for name, reason in candidate.unread.items()}},
        assumptions=(*notes, *candidate.assumptions),
        spec=candidate.spec,
        reference=rebuilt(candidate.spec, tensors),
    )


def _chosen(candidates: list[Candidate], arch: str | None) -> Candidate:
    """The likeliest; ``arch``, if told, must be its name."""
    first = candidates[0]
    if arch is not None and first.spec.name != arch:
        raise UserError(f"its tensors are those of {first.spec.name}, not of {arch}")
    return first
