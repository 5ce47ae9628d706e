"""The command that does a conversion again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load.timm_name import is_timm_name
from idsnn_convert.runtime.neurons import usual_neuron

if TYPE_CHECKING:
    from idsnn_convert.balance import Balancing

_DEFAULTS = {
    "stem": "auto",
    "downsample": "auto",
    "width": 1.0,
    "block": "spiking",
    "arch": None,
    "input_size": None,
    "data": None,
    "allow_global": (),
    "unsafe_pickle": False,
}

_NEURON = {
    "v_threshold": "v_threshold",
    "decay": "decay",
    "reset": "reset",
    "surrogate": "surrogate",
    "surrogate_width": "width",
}
"""Option of a neuron -> attribute of :class:`idsnn_convert.runtime.neurons.Neuron`."""


def command_of(
    teacher: str | Path, target: str, settings: Settings, choices: Mapping[str, Any], balance: Balancing | None = None
) -> str | None:
    """``idsnn-convert resnet32.th --target resnet20 --seed 3``: what differs from the defaults, files without their folders.

    Args:
        choices: the other arguments of :func:`idsnn_convert.api.convert`, by name.

    Returns:
        None where no command says it: some neurons can be asked for in Python alone.
    """
    neuron, usual = settings.neuron, usual_neuron(settings.neuron.kind)
    asked = {f"--{name.replace('_', '-')}": (getattr(neuron, key), getattr(usual, key)) for name, key in _NEURON.items()}
    if replace(usual, **{key: getattr(neuron, key) for key in _NEURON.values()}) != neuron:
        return None
    chosen = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name != "neuron"}
    defaults = {**_DEFAULTS, **{name: getattr(Settings(), name) for name in chosen}}
    words = ["idsnn-convert", _nearby(str(teacher), "@" if is_timm_name(teacher) else ""), "--target", _nearby(target)]
    for name, value in {**chosen, **choices}.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            words += [word for each in value for word in (option, str(each))]
        elif value is True:
            words.append(option)
        elif value != defaults[name]:
            words += [option, _nearby(str(value), ":" if name == "data" else "")]
    words += [] if neuron.kind == usual_neuron().kind else ["--neuron", neuron.kind]
    for flag, (number, ordinary) in asked.items():
        words += [] if number == ordinary else [flag, str(number)]
    if balance is not None:
        words += ["--balance", balance.rule]
        for name in ("steps", "images", "curve", "normalisation"):
            value = getattr(balance, name)
            words += [] if value == getattr(type(balance)(), name) else [f"--{name}", str(value)]
    return shlex.join(words)


def _nearby(word: str, mark: str = "") -> str:
    """A file's name without its folders; what stands before ``mark`` is no part of the path."""
    before, mark, path = word.partition(mark) if mark else ("", "", word)
    return before + mark + path.replace("\\", "/").rstrip("/").rpartition("/")[2]
