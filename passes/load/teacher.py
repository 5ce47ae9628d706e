"""From a path to a :class:`~idsnn_convert.passes.types.Teacher`: one loader a form of file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.passes.families import Candidate, recognise
from idsnn_convert.passes.families.variants import rebuilt
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.load.ann import load_ann
from idsnn_convert.passes.load.detect import detect, refusal
from idsnn_convert.passes.load.exported import load_exported
from idsnn_convert.passes.load.onnx.teacher import load_onnx
from idsnn_convert.passes.load.pickled_module import is_library_module, load_pickled
from idsnn_convert.passes.load.safetensors_file import read_safetensors
from idsnn_convert.passes.load.timm_name import is_timm_name, load_timm
from idsnn_convert.passes.load.torch_file import read_archive, read_legacy
from idsnn_convert.passes.load.torchscript import load_torchscript
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.load.unwrap import State, find_state
from idsnn_convert.passes.load.weights import dtype_name, usable
from idsnn_convert.passes.resnet.archs import find_arch
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.ann_file import is_ann_file
from idsnn_convert.runtime.errors import UserError


def _state_dict(read: Callable[[Path], Any], form: str) -> Callable[[Request], Teacher]:
    def load(request: Request) -> Teacher:
        content = read(request.path)
        try:
            return _from_state(find_state(content), form, request)
        except UserError as error:
            raise UserError(f"{request.path}: {error.problem}", hint=error.hint) from error

    return load


def _archive(request: Request) -> Teacher:
    """A torch.save archive holds a state dict or, less often, a whole model."""
    read = load_pickled if is_library_module(request.path) else _state_dict(read_archive, "state dict")
    return read(request)


def _safetensors(request: Request) -> Teacher:
    """A state dict, or a network that brings its graph."""
    read = load_ann if is_ann_file(request.path) else _state_dict(read_safetensors, "safetensors")
    return read(request)


LOADERS: dict[str, Callable[[Request], Teacher]] = {
    "torch archive": _archive,
    "legacy torch": _state_dict(read_legacy, "state dict"),
    "safetensors": _safetensors,
    "TorchScript": load_torchscript,
    "exported program": load_exported,
    "ONNX": load_onnx,
}
"""A form, as :func:`idsnn_convert.passes.load.detect.detect` names it -> its loader."""


def load_teacher(path: str | Path, *, arch: str | None = None, input_size: int | None = None) -> Teacher:
    """The trained network in a file, in canonical form. The file's content decides how it is read; no code in it runs.

    ``timm:MODEL@FILE`` stands for timm's MODEL with the weights in FILE.

    Weights stored as float16, bfloat16 or float64 are converted to float32, and the teacher's assumptions say so.

    Args:
        arch: what the network must be, such as ``resnet18``; None to take what is found.
        input_size: height and width of its images; None for the usual one: 28 for one channel, else 32 behind a 3x3 stem
            and 224 behind a 7x7 one.

    Raises:
        UserError: if there is no such file, it is of another kind, damaged or unsafe, or holds no network that is known;
            each time naming what was found and the way out.
    """
    if arch is not None:
        find_arch(arch, "architecture")
    if is_timm_name(path):
        return load_timm(str(path), arch=arch, input_size=input_size)
    place = Path(path)
    form = detect(place)
    if form not in LOADERS:
        raise refusal(place, form)
    with ThreadPoolExecutor(1) as beside:  # hashing needs no lock of Python's
        digest = beside.submit(_digest, place)
        teacher = LOADERS[form](Request(place, "", arch, input_size))
        return replace(teacher, sha256=digest.result())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_state(state: State, form: str, request: Request) -> Teacher:
    candidate = _chosen(recognise(state.tensors, input_size=request.input_size), request.arch)
    with torch.device("meta"):
        network = ResNet(candidate.spec)
    traced = trace_known(network, candidate.spec.input_shape)
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
