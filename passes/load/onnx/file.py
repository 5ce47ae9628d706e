"""Reads an ONNX file: its graph as a protobuf, and its constants as arrays, those kept in files beside it too.

Nothing in such a file runs. Sizes are held against the bytes that are there before anything is made of them; what
stands beside the file may only be read from its own folder.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from idsnn_convert.passes.load.onnx.values import Known
from idsnn_convert.passes.load.onnx.wire import check_wire
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.ops import LARGEST_ELEMENTS

KINDS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT32", "INT64", "BOOL")
"""Kinds of numbers that are read."""

LARGEST_FILE = 1 << 31
"""Bytes that a protobuf may have."""

_DAMAGED = "Download or copy it again, and compare its size with the original's."
_AGAIN = "Export it again, with constant shapes and without an optimiser of one runtime."


@dataclass(frozen=True)
class OnnxFile:
    """A model as read.

    Attributes:
        opset: the version of ONNX's own operators that it uses.
        constants: its initializers by name.
        notes: what of it was read from elsewhere, one sentence each.
    """

    graph: onnx.GraphProto
    opset: int
    constants: Mapping[str, Known]
    notes: tuple[str, ...]


def read_onnx(path: Path) -> OnnxFile:
    """The model in the file ``path``.

    Raises:
        UserError: if it is damaged, too large, too new, or made of what is not covered as a whole.
    """
    model = _parsed(path)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx"))
    if not model.graph.node or opset is None or opset < 1:
        raise UserError("it holds no ONNX network, or is cut short", hint=_DAMAGED)
    if opset > onnx.defs.onnx_opset_version():
        known = f"onnx {onnx.__version__} knows opsets up to {onnx.defs.onnx_opset_version()}"
        raise UserError(f"it uses ONNX opset {opset}; {known}", hint="Upgrade: pip install --upgrade onnx.")
    if model.functions:
        names = ", ".join(str(function.name) for function in model.functions[:3])
        raise UserError(f"it defines operators of its own ({names})", hint="Inline them: onnx.inliner.inline_local_functions.")
    if model.graph.sparse_initializer:
        raise UserError("it holds sparse tensors", hint="Give the network as it was before it was compressed.")
    if not all(isinstance(text, str) for text in _texts(model.graph)):  # protobuf gives bytes where they are no text
        raise UserError("a name in it is no text", hint=_DAMAGED)
    beside = _Beside(path)
    constants: dict[str, Known] = {}
    for tensor in model.graph.initializer:
        if not tensor.name or tensor.name in constants:
            raise UserError(f"the name {tensor.name!r} of a tensor is empty or used twice", hint=_AGAIN)
        constants[tensor.name] = Known(tensor.name, array(tensor, tensor.name, beside))
    return OnnxFile(model.graph, opset, constants, beside.notes())


def _parsed(path: Path) -> onnx.ModelProto:
    if path.stat().st_size >= LARGEST_FILE:
        raise UserError("it is larger than the 2 GiB a protobuf may have", hint="Save its weights as external data.")
    data = path.read_bytes()
    try:
        check_wire(data)
        model = onnx.ModelProto()
        model.ParseFromString(data)
    except UserError:
        raise
    except Exception as error:  # protobuf's DecodeError; onnx does not hand it on
        raise UserError("it is no ONNX model, or is cut short or damaged", hint=_DAMAGED) from error
    return model


def _texts(graph: onnx.GraphProto) -> Iterator[Any]:
    """The names in a graph, and what else in it is text."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
        for entry in node.metadata_props:
            yield from (entry.key, entry.value)


class _Beside:
    """The files beside an ONNX file that hold some of its tensors."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent.resolve()
        self._regions: dict[tuple[Path, int, int], bytes] = {}
        self._left: dict[Path, int] = {}

    def region(self, name: str, entries: Mapping[str, str], needed: int) -> bytes:
        """The ``needed`` bytes of the tensor ``name``.

        Raises:
            UserError: if they are not in a file of this folder, or the tensors declare more than the file holds.
        """
        file = self._file(name, entries.get("location", ""))
        try:
            offset, length = (int(entries.get(key) or default) for key, default in (("offset", 0), ("length", needed)))
        except ValueError as error:
            raise self._wrong(name, "has no number for its place") from error
        if length != needed:
            raise self._wrong(name, f"needs {needed:,} bytes and declares {length:,}")
        key = (file, offset, length)
        if key not in self._regions:
            self._left[file] = self._left.get(file, file.stat().st_size) - length
            if offset < 0 or offset + length > file.stat().st_size or self._left[file] < 0:
                raise self._wrong(name, f"lies beyond the end of {file.name}, which holds {file.stat().st_size:,} bytes")
            with file.open("rb") as opened:
                opened.seek(offset)
                self._regions[key] = opened.read(length)
        return self._regions[key]

    def notes(self) -> tuple[str, ...]:
        """Which files were read, and what their bytes were."""
        found = []
        for file in self._left:
            with file.open("rb") as opened:
                found.append(
                    f"Weights were read from {file.name} too (sha256 {hashlib.file_digest(opened, 'sha256').hexdigest()})."
                )
        return tuple(found)

    def _file(self, name: str, location: str) -> Path:
        try:
            file = (self.folder / location).resolve()
            there = file.is_file()
        except (ValueError, OSError) as error:  # a name that no file can have
            raise self._wrong(name, f"is kept in {location!r:.200}, which is no file's name") from error
        if not location or Path(location).is_absolute() or self.folder not in file.parents:
            raise UserError(
                f"tensor {name!r} is kept in {location!r}, which is not in the folder of the file",
                hint="Only files in the same folder are read. Put the data there, not as a link, and export with that name.",
            )
        if not there:
            raise UserError(
                f"tensor {name!r} is kept in {location!r}, which is missing",
                hint=f"Put the file that belongs to it into {self.folder}.",
            )
        return file

    def _wrong(self, name: str, problem: str) -> UserError:
        return UserError(f"tensor {name!r} {problem}", hint=_DAMAGED)


def array(tensor: onnx.TensorProto, name: str, beside: _Beside | None = None) -> np.ndarray[Any, Any]:
    """The numbers of a tensor.

    Args:
        beside: where it is read from if it is not in the model itself; None if it has to be.

    Raises:
        UserError: if they are of a kind that is not read, or fewer or more than its shape needs.
    """
    kind = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in onnx.TensorProto.DataType.values() else "?"
    if kind not in KINDS:
        raise UserError(f"tensor {name!r} holds {kind} numbers, which are not read", hint="Give the network unquantised.")
    shape = tuple(tensor.dims)
    count = math.prod(shape)
    if any(size < 0 for size in shape) or len(shape) > 8 or count > LARGEST_ELEMENTS:
        raise UserError(f"tensor {name!r} has the impossible shape {shape}", hint=_DAMAGED)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        if beside is None:
            raise UserError(f"the constant {name!r} is kept outside the model", hint=_AGAIN)
        entries = {entry.key: entry.value for entry in tensor.external_data}
        return np.frombuffer(beside.region(name, entries, count * dtype.itemsize), dtype).reshape(shape)
    if tensor.HasField("raw_data"):
        held, needed = len(tensor.raw_data), count * dtype.itemsize
    else:
        held = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
        needed = count
    if held != needed or tensor.HasField("segment"):
        raise UserError(f"tensor {name!r} of shape {shape} does not have the numbers that it needs", hint=_DAMAGED)
    return np.asarray(numpy_helper.to_array(tensor))
