"""Tensors and facts in one safetensors file under a seal: what a run puts away for itself and must find whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from idsnn_convert.runtime.bounds import check_header, parsed_json
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import replacing
from idsnn_convert.runtime.seal import KEY as SEAL
from idsnn_convert.runtime.seal import broken, sealed

Found = TypeVar("Found")


def write_sealed(path: Path, key: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes the file, all or nothing; ``facts``, JSON-native, stand under ``key`` of its metadata.

    Raises:
        UserError: if the place cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as part:
        save_file(plain, part, {key: sealed(facts, plain)})


def read_sealed(path: Path, key: str, hint: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`write_sealed` wrote; ``hint``: the way out if that is not to be had.

    Raises:
        UserError: if the file cannot be read, is damaged or is something else.
    """

    def parts(file: Any) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
        text = (file.metadata() or {})[key]
        return text, dict(parsed_json(text)), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    text, facts, tensors = _opened(path, parts, hint)
    if broken(text, facts.pop(SEAL, None), tensors):
        raise UserError(f"{path} cannot be read: it is damaged (SHA-256)", hint=hint)
    return tensors, facts


def sealed_names(path: Path) -> list[str]:
    """The names of the tensors in such a file, which is not looked at otherwise.

    Raises:
        UserError: if it cannot be read.
    """
    return _opened(path, lambda file: list(file.keys()), None)


def _opened(path: Path, read: Callable[[Any], Found], hint: str | None) -> Found:
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            return read(file)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}", hint=hint) from error
