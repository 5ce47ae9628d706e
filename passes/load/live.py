"""A module in memory as a teacher: for Python programs that build or load their network themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from idsnn_convert.passes.equal import module_reference
from idsnn_convert.passes.load.traced import traced_teacher
from idsnn_convert.passes.trace import trace
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape


def teacher_from_module(module: nn.Module, *, input_shape: Shape, name: str | None = None, arch: str | None = None) -> Teacher:
    """The teacher that ``module`` is in eval mode; its own mode does not change.

    Its sha256 is that of its tensors in float32, in the graph's order.

    Args:
        input_shape: channels, height and width of its images.
        name: stands in place of a file's path; the class's name by default.
        arch: what the network must be; None to take what is found.

    Raises:
        UserError: if it is no module, cannot be traced, or gives no logits.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"a teacher must be a torch.nn.Module, not {type(module).__name__}")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise UserError(f"input_shape must be (channels, height, width), each at least 1, not {input_shape!r}")
    path = type(module).__name__ if name is None else name
    teacher = module_teacher(module, tuple(input_shape), path=path, sha256="", form="live module", arch=arch)
    digest = hashlib.sha256()
    for tensor in teacher.tensors.values():
        digest.update(tensor.numpy().tobytes())
    return replace(teacher, sha256=digest.hexdigest())


def module_teacher(
    module: nn.Module,
    input_shape: Shape,
    *,
    path: str,
    sha256: str,
    form: str,
    arch: str | None,
    notes: Sequence[str] = (),
) -> Teacher:
    """Traces ``module``. If it fails, the error tells ``notes`` too: the cause may be what they assume.

    Raises:
        UserError: as :func:`teacher_from_module`.
    """
    family = f"{type(module).__module__}.{type(module).__qualname__}"
    facts: dict[str, Any] = {"path": path, "sha256": sha256, "form": form, "family": family}
    try:
        traced, reference = trace(module, input_shape), module_reference(module, input_shape)
        return traced_teacher(traced, module.state_dict(), **facts, arch=arch, notes=notes, reference=reference)
    except UserError as error:
        hints = (error.hint, *notes, "Another size can be given as the input size." if notes else None)
        raise UserError(error.problem, hint=" ".join(filter(None, hints)) or None) from error
