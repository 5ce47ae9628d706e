"""The command that does a conversion again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load.timm_name import is_timm_name

_DEFAULTS = {
    "stem": "auto",
    "downsample": "auto",
    "width": 1.0,
    "block": "spiking",
    "arch": None,
    "input_size": None,
    "data": None,
}


def command_of(teacher: str | Path, target: str, settings: Settings, choices: Mapping[str, Any]) -> str | None:
    """``idsnn-convert resnet32.th --target resnet20 --seed 3``: what differs from the defaults, files without their folders.

    Args:
        choices: the other arguments of :func:`idsnn_convert.api.convert`, by name.

    Returns:
        None where no command says it: a neuron of one's own can be asked for in Python alone.
    """
    if settings.neuron != Settings().neuron:
        return None
    chosen = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name != "neuron"}
    defaults = {**_DEFAULTS, **{name: getattr(Settings(), name) for name in chosen}}
    words = ["idsnn-convert", _nearby(str(teacher), "@" if is_timm_name(teacher) else ""), "--target", _nearby(target)]
    for name, value in {**chosen, **choices}.items():
        if value != defaults[name]:
            words += [f"--{name.replace('_', '-')}", _nearby(str(value), ":" if name == "data" else "")]
    return shlex.join(words)


def _nearby(word: str, mark: str = "") -> str:
    """A file's name without its folders; what stands before ``mark`` is no part of the path."""
    before, mark, path = word.partition(mark) if mark else ("", "", word)
    return before + mark + path.replace("\\", "/").rstrip("/").rpartition("/")[2]
