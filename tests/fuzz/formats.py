"""Mutators of formats that a library writes: ONNX (protobuf), NIR (HDF5), Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.odd import NUMBERS, bytes_changed, json_changed, text_of


def onnx_changed(rng: Random, data: bytes) -> bytes:
    """One to four fields of any message in the model changed, cleared or repeated; or the file as bytes."""
    import onnx

    if rng.random() < 0.15:
        return bytes_changed(rng, data)
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.randint(1, 4)):
        _field_changed(rng, rng.choice(_messages(model)))
    return bytes(model.SerializeToString())


def _messages(message: Any) -> list[Any]:
    """The message and all in it; those that say how the network is wired as often as those that hold numbers."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if _single(value) else value:
                found += _messages(inner)
    return found


def _single(value: Any) -> bool:
    return hasattr(value, "ListFields")


def _field_changed(rng: Random, message: Any) -> None:
    field = rng.choice(message.DESCRIPTOR.fields)
    there = [field for field, _ in message.ListFields()]
    if there and rng.random() < 0.7:
        field = rng.choice(there)
    value, kind = getattr(message, field.name), rng.random()
    try:
        if kind < 0.15:
            message.ClearField(field.name)
        elif not isinstance(value, str | bytes) and hasattr(value, "__len__"):
            _repeated_changed(rng, value, field)
        elif _single(value):
            _field_changed(rng, value)
        else:
            setattr(message, field.name, _other(rng, value))
    except (ValueError, TypeError, OverflowError):  # what the field cannot hold
        message.ClearField(field.name)


def _repeated_changed(rng: Random, values: Any, field: Any) -> None:
    kind = rng.random()
    if field.message_type is not None:
        if kind < 0.4 and len(values):
            del values[rng.randrange(len(values))]
        elif kind < 0.8 and len(values):
            values.add().CopyFrom(rng.choice(values))
        else:
            values.add()
    elif kind < 0.7 and len(values):
        at = rng.randrange(len(values))
        values[at] = _other(rng, values[at])
    elif kind < 0.85 and len(values):
        del values[rng.randrange(len(values))]
    else:
        values.append(_other(rng, values[0] if len(values) else 0))


def _other(rng: Random, value: Any) -> Any:
    if isinstance(value, str):
        return text_of(rng).replace("\ud800", "?")
    if isinstance(value, bytes):
        return bytes_changed(rng, value)
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1e38, -1e38, float("nan"), float("inf")))
    return rng.choice((value + 1, value - 1, -value, rng.choice(NUMBERS[:-2])))


def hdf5_changed(rng: Random, data: bytes) -> bytes:
    """One to three places of the tree replaced: other values, shapes, links outside, empty declared spaces; or the bytes."""
    import h5py

    if rng.random() < 0.15:
        return bytes_changed(rng, data)
    made = io.BytesIO(data)
    with h5py.File(made, "r+") as file:
        for _ in range(rng.randint(1, 3)):
            paths: list[str] = []
            file.visit(paths.append)
            if paths:
                _place_changed(rng, file, rng.choice(paths))
    return made.getvalue()


def _place_changed(rng: Random, file: Any, path: str) -> None:
    import h5py
    import numpy as np

    old = file.get(path)
    if old is None:
        return
    plain = isinstance(old, h5py.Dataset) and not old.external and old.size is not None and old.size < 1 << 20
    value = old[()] if plain else None
    del file[path]
    made: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: text_of(rng).replace("\0", "").replace("\ud800", "?"),
        lambda: rng.choice(NUMBERS[:15]),
        lambda: np.float32(rng.choice((np.nan, np.inf, -1, 0, 1e38))),
        lambda: np.zeros(rng.choice(((0,), (1,), (3,), (2, 2), (1, 1, 1, 1), (2,) * 7)), rng.choice(("f4", "i8", "S3"))),
        lambda: np.asarray(value).reshape(-1)[::-1] if value is not None and np.asarray(value).size else None,
        lambda: np.asarray(value) * 2 if isinstance(value, np.ndarray) and value.dtype.kind in "fi" else value,
        lambda: h5py.SoftLink(rng.choice((path, "/", "/node", "/nowhere"))),
        lambda: h5py.ExternalLink(rng.choice(("../../x", "/etc/passwd", "other.nir")), "/node"),
        lambda: h5py.Empty("f4"),
    )
    kind = rng.randrange(len(made) + 4)
    if kind < len(made):
        content = made[kind]()
        if content is not None:
            file[path] = content
    elif kind == len(made):
        shape = rng.choice(((2**40,), (2**20, 2**20), (2**31,), (10**6, 8)))
        file.create_dataset(path, shape, "f4", chunks=tuple(min(size, 1024) for size in shape))
    elif kind == len(made) + 1:
        file.create_dataset(path, (64,), "f4", external=[(rng.choice(("/dev/zero", "/etc/passwd", "../x")), 0, 256)])
    elif kind == len(made) + 2:
        group = file.create_group(path)
        for name in ("type", text_of(rng).replace("\0", "").replace("\ud800", "?").strip("/.") or "x"):
            group.require_dataset(name, (), "i8")
    else:
        inner = file.create_group(path)
        for _ in range(rng.choice((3, 300))):
            inner = inner.create_group("node")


def parquet_changed(rng: Random, data: bytes) -> bytes:
    """The columns' kinds, names and values, how they are packed, and what the Hub notes beside them; or the bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if rng.random() < 0.4:
        return bytes_changed(rng, data)
    table = pq.read_table(io.BytesIO(data))
    images, labels = (table.column(name).to_pylist() for name in table.column_names)
    notes = dict(table.schema.metadata or {})
    kind = rng.randrange(7)
    if kind == 0 and b"huggingface" in notes:
        notes[b"huggingface"] = json_changed(rng, notes[b"huggingface"])
    elif kind == 1:
        labels[rng.randrange(len(labels))] = rng.choice((-1, None, 2**62, 10**6))
    elif kind == 2:
        at = rng.randrange(len(images))
        images[at] = rng.choice(
            (None, {"bytes": None, "path": text_of(rng).replace("\ud800", "?")}, {"bytes": b"", "path": ""})
        )
    elif kind == 3:
        at = rng.randrange(len(images))
        images[at] = {"bytes": bytes_changed(rng, images[at]["bytes"]), "path": "x"}
    elif kind == 4:
        images, labels = images * 1000, labels * 1000
    names = [text_of(rng).replace("\ud800", "?") if rng.random() < 0.2 else name for name in table.column_names]
    kinds = [pa.struct([("bytes", pa.binary()), ("path", pa.string())]), rng.choice((pa.int64(), pa.int8(), pa.float64()))]
    try:
        columns = [pa.array(values, kind) for values, kind in zip((images, labels), kinds, strict=True)]
        made = pa.table(columns, schema=pa.schema(list(zip(names, kinds, strict=True)), metadata=notes or None))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return bytes_changed(rng, data)
    out = io.BytesIO()
    pq.write_table(made, out, compression=rng.choice(("snappy", "zstd", "none", "gzip")))
    return out.getvalue()


def lines_changed(rng: Random, data: bytes) -> bytes:
    """One line of JSON among many, or the bytes."""
    if rng.random() < 0.2:
        return bytes_changed(rng, data)
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    try:
        json.loads(lines[at])
        lines[at] = json_changed(rng, lines[at])
    except ValueError:
        lines[at] = bytes_changed(rng, lines[at])
    return b"\n".join(lines) + b"\n"
