"""Reads a torch.save file whose owner vouches for it: what it names is imported and called.

This is the one place where code that a file asks for runs, and only if the owner says so for that file.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.passes.load.detect import detect
from idsnn_convert.passes.load.pickled_module import read_with_shells, whole_of, whole_teacher
from idsnn_convert.passes.load.state_dict import state_teacher
from idsnn_convert.passes.load.torch_file import check_archive, foreign_globals, is_hostile, read_legacy
from idsnn_convert.passes.load.traced import at
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.errors import UserError


def load_trusted(request: Request) -> Teacher:
    """The teacher in a torch.save file, archive or legacy, read as far as ``request.trust`` goes.

    Raises:
        UserError: if it cannot be read even so, a name is not to be had, is not asked for, or runs commands.
    """
    content = _unpickled(request.path) if request.trust.everything else _allowed(request)
    if not _holds_module(content):
        return state_teacher(content, "state dict", request)
    try:
        return whole_teacher(whole_of(content).eval(), request)
    except UserError as error:
        raise at(request.path, error) from error


def _unpickled(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the caller has been warned
        try:
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=False)
        except Exception as error:  # whatever the code in it may raise
            raise UserError(f"{path} cannot be unpickled: {type(error).__name__}: {error}", hint=_PYTHONPATH) from error


_PYTHONPATH = "Code that it needs is looked for where Python looks: name its folder in PYTHONPATH."


def _allowed(request: Request) -> Any:
    path, names = request.path, request.trust.names
    if hostile := next(filter(is_hostile, names), None):
        raise UserError(f"{hostile} runs commands; no weights need it", hint="Get the weights from a source you trust.")
    asked = foreign_globals(path)
    if unasked := [name for name in names if name not in asked]:
        raise UserError(f"{path} does not ask for {unasked[0]}", hint=f"It asks for {', '.join(asked[:8]) or 'nothing'}.")
    objects = {name: find_object(name) for name in names}
    if detect(path) != "torch archive":
        return read_legacy(path, [(found, name) for name, found in objects.items()])
    check_archive(path)
    return read_with_shells(path, objects)


def find_object(name: str) -> Any:
    """What goes by this dotted name; its module is imported.

    Raises:
        UserError: if there is no such thing.
    """
    home, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(home), last)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"--allow-global {name}: {error}", hint=_PYTHONPATH) from error


def _holds_module(content: Any) -> bool:
    """Whether it is a whole model, or a training script's dict with one and no weights beside it."""
    if isinstance(content, nn.Module) or not isinstance(content, Mapping):
        return isinstance(content, nn.Module)
    values = list(content.values())
    return any(isinstance(value, nn.Module) for value in values) and not any(
        isinstance(value, Tensor | Mapping) and _has_tensors(value) for value in values
    )


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or any(isinstance(item, Tensor) for item in value.values())
