"""Safetensors files that say what their tensors are: a graph and more, as JSON under one key of the metadata.

The JSON is canonical (sorted keys, no spaces), so that equal content gives equal bytes. Reading checks everything
against the graph before a tensor is allocated, and runs no code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from idsnn_convert.runtime import graph as graphs
from idsnn_convert.runtime.bounds import LARGEST_HEADER, check_header, parsed_json
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import replacing
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.ops import check, tensor_shapes
from idsnn_convert.runtime.seal import KEY as SEAL
from idsnn_convert.runtime.seal import broken, sealed


class Described(Protocol):
    @property
    def graph(self) -> Graph: ...


Found = TypeVar("Found", bound=Described)


def write(path: Path, key: str, graph: Graph, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes the file, all or nothing; ``facts`` are JSON-native.

    Raises:
        UserError: if the tensors do not fit the graph or the place cannot be written.
    """
    _check_tensors(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, graph)
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as part:
        save_file(plain, part, {key: sealed(facts, plain)})


def carries(path: Path, key: str) -> bool:
    """Whether the file is a safetensors file with a description under ``key``."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return 2 <= length <= LARGEST_HEADER and f'"{key}":'.encode() in file.read(length)
    except OSError:
        return False


def read(path: Path, key: str, what: str, parse: Callable[[Any], Found], absent: UserError) -> tuple[Found, dict[str, Tensor]]:
    """What the file says and its tensors, ``node.slot`` -> float32, in graph order.

    Args:
        what: such a file is, for the message: ``SNN checkpoint``.
        parse: the description's JSON -> what it says; raises UserError where it contradicts itself.
        absent: raised if there is no description under ``key``.

    Raises:
        UserError: if the file is missing, cut short or damaged, or its tensors do not fit its graph.
    """
    with _opened(path, key, what, absent) as (file, text):
        found, seal = _parsed(path, text, parse)
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        kinds = {name: file.get_slice(name).get_dtype() for name in shapes}
        _check_tensors(path, shapes, found.graph)
        if odd := [name for name, kind in kinds.items() if kind != "F32"]:
            raise UserError(f"{path}: tensor {odd[0]!r} is stored as {kinds[odd[0]]}, not as F32")
        tensors = {name: file.get_tensor(name) for name in tensor_shapes(found.graph)}
    if seal is not None and broken(text, seal, tensors):  # none is in files that others wrote
        problem = f"{path} is damaged: its content is not what was written (SHA-256)"
        raise UserError(problem, hint="Take a copy from elsewhere, or make it anew.")
    return found, tensors


def description(path: Path, key: str, what: str, parse: Callable[[Any], Found], absent: UserError) -> Found:
    """What the file says, as :func:`read` gives it; its tensors are not looked at, nor its seal, which is of them too.

    Raises:
        UserError: if the file is missing or cut short, or says nothing that can be read.
    """
    with _opened(path, key, what, absent) as (_, text):
        return _parsed(path, text, parse)[0]


@contextmanager
def _opened(path: Path, key: str, what: str, absent: UserError) -> Iterator[tuple[Any, str]]:
    """The open file and the text under ``key``; what reading it raises becomes one message."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if key not in metadata:
                raise absent
            yield file, metadata[key]
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is no readable {what}: {error}", hint="Is it such a file, and complete?") from error


def _parsed(path: Path, text: str, parse: Callable[[Any], Found]) -> tuple[Found, Any]:
    """What the description says, and its seal, if it has one."""
    try:
        data = parsed_json(text)
    except ValueError as error:
        raise UserError(f"{path}: its description is no valid JSON ({error})") from error
    try:
        return parse(data), data.get(SEAL)
    except UserError as error:
        raise UserError(f"{path}: {error.problem}", hint=error.hint) from error


def parsed_head(data: Any, version: int) -> tuple[Graph, dict[str, Any] | None]:
    """The graph, every node checked, and the normalisation, of a description of this format version.

    Raises:
        UserError: if it is no object, of another version, or one of the two is wrong.
    """
    if not isinstance(data, dict):
        raise UserError("its description is no JSON object")
    if data.get("format_version") != version:
        problem = f"format version {data.get('format_version')!r} is not one this release reads ({version})"
        raise UserError(problem, hint="Is there a newer idsnn-convert?")
    graph = graphs.from_json(data.get("graph"))
    check(graph)
    normalisation = data.get("normalisation")
    if normalisation is not None and not isinstance(normalisation, dict):
        raise UserError(f"normalisation is {normalisation!r:.80}, not an object or null")
    return graph, normalisation


def parsed_objects(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The objects under ``keys``. Raises UserError if one is missing or something else."""
    parts = {key: data.get(key) for key in keys}
    if wrong := [key for key, value in parts.items() if not isinstance(value, dict)]:
        raise UserError(f"{wrong[0]!r} is missing from its description or no object")
    return parts


def _check_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]], graph: Graph) -> None:
    needed = tensor_shapes(graph)
    for name in sorted(needed.keys() | shapes.keys()):
        if name not in shapes:
            raise UserError(f"{path}: tensor {name!r} is missing; the graph needs it")
        if name not in needed:
            raise UserError(f"{path}: tensor {name!r} belongs to no node of the graph")
        if shapes[name] != needed[name]:
            raise UserError(f"{path}: tensor {name!r} has shape {shapes[name]}, the graph needs {needed[name]}")
