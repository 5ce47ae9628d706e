"""A timm model by its name, with weights from a file: ``timm:resnet18@weights.safetensors``."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from idsnn_convert.passes.load.detect import detect, refusal
from idsnn_convert.passes.load.live import module_teacher
from idsnn_convert.passes.load.safetensors_file import read_safetensors
from idsnn_convert.passes.load.torch_file import read_archive, read_legacy
from idsnn_convert.passes.load.unwrap import find_state
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.errors import UserError

PREFIX = "timm:"
READERS = {"torch archive": read_archive, "legacy torch": read_legacy, "safetensors": read_safetensors}


def is_timm_name(path: str | Path) -> bool:
    return str(path).startswith(PREFIX)


def load_timm(name: str, *, arch: str | None = None, input_size: int | None = None) -> Teacher:
    """The timm model called ``name``, ``timm:MODEL@WEIGHTS``; nothing is downloaded.

    The number of classes is read off the weights. The image size is what timm says the model was trained with.

    Raises:
        UserError: if no weights are named, timm is not installed or knows no such model, or the weights do not fit it.
    """
    model, _, weights = name.removeprefix(PREFIX).partition("@")
    if not weights:
        raise UserError(
            f"{name} names no weights, and a model with random weights is no teacher",
            hint=f"Name their file: {PREFIX}{model}@weights.safetensors. Nothing is downloaded.",
        )
    place = Path(weights)
    form = detect(place)
    if form not in READERS:
        raise refusal(place, form)
    content = READERS[form](place)
    try:
        state = find_state(content).tensors
    except UserError as error:
        raise UserError(f"{place}: {error.problem}", hint=error.hint) from error
    module = _built(model, state)
    channels, size, _ = module.default_cfg["input_size"]
    told = "" if input_size else f"The images are {size}x{size}, as timm says of {model}."
    size = input_size or size
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    teacher = module_teacher(
        module, (channels, size, size), path=str(place), sha256=digest, form="timm", arch=arch, notes=[told] if told else []
    )
    return replace(teacher, family=f"timm {model}")


def _built(model: str, state: Any) -> Any:
    """The model with exactly these weights."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(f"{PREFIX}{model} needs timm: {error}", hint="pip install timm") from error
    except (ImportError, RuntimeError) as error:  # torchvision says so if it does not fit the torch at hand
        raise UserError(
            f"timm cannot be imported: {error}", hint="Install the release of torchvision that fits this torch."
        ) from error
    if not timm.is_model(model):
        near = ", ".join(timm.list_models(f"*{model[:8]}*")[:6])
        raise UserError(f"timm knows no model {model!r}", hint=f"Did you mean one of {near}?" if near else None)
    head = timm.create_model(model, pretrained=False).default_cfg.get("classifier", "fc")
    weight = state.get(f"{head}.weight") if isinstance(head, str) else None
    module: nn.Module = timm.create_model(model, pretrained=False, **({} if weight is None else {"num_classes": len(weight)}))
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise UserError(f"the weights are not those of timm's {model}: {str(error).splitlines()[1].strip()}") from error
    return module
