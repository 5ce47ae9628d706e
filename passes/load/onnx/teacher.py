"""An ONNX model as a teacher. onnx is optional: it is imported when a model is read, and missed in plain words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from idsnn_convert.passes.load.traced import traced_teacher
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.errors import UserError

OPTIONAL = ("onnx", "google", "ml_dtypes")
"""Packages that come with the extra that reads ONNX."""


def load_onnx(request: Request) -> Teacher:
    """The teacher in an ONNX model, as the file describes it: nothing is recognised or guessed.

    Batch norms that the exporter folded into convolutions stay folded. A tensor goes by the name of its initializer.

    Raises:
        UserError: if onnx is not installed, or the file is damaged, holds what has no canonical form, or another network.
    """
    path = request.path
    try:
        from idsnn_convert.passes.load.onnx.file import read_onnx
        from idsnn_convert.passes.load.onnx.importer import imported
        from idsnn_convert.passes.load.onnx.oracle import runtime_reference
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        hint = f'{error.name} is not installed: pip install "idsnn-convert[cpu]", or [gpu] on a machine with CUDA.'
        raise UserError(f"{path} is an ONNX model, and nothing here can read it", hint=hint) from error
    try:
        file = read_onnx(path)
        found = imported(file, request.input_size)
        notes = (*file.notes, *found.notes)
        facts: dict[str, Any] = {"path": str(path), "sha256": request.sha256, "form": "ONNX", "family": "ONNX model"}
        teacher = traced_teacher(found.canonical, found.stored, **facts, arch=request.arch, notes=notes)
        return replace(teacher, reference=runtime_reference(path, file.graph, teacher.input_shape))
    except UserError as error:
        raise UserError(f"{path}: {error.problem}", hint=error.hint) from error
