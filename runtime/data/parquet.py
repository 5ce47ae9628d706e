"""Parquet files of images and labels, as the Hugging Face Hub stores data sets: an image column, a column of labels::

    DIR/**/train-00000-of-00001.parquet, DIR/**/test-00000-of-00001.parquet, or DIR/**/train/0000.parquet

An image is stored as its file's bytes, alone or with its path. Encoded images stay in memory, as large as the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.runtime.bounds import parsed_json
from idsnn_convert.runtime.data.encoded import Encoded, read_split
from idsnn_convert.runtime.data.types import Dataset, Reading
from idsnn_convert.runtime.errors import UserError

PARTS = {"train": ("train",), "test": ("test", "val", "valid", "validation")}
"""A split -> how its files' names begin; the first of which there are files is taken."""

LABELS = ("label", "labels", "fine_label")
"""What the column of labels is called, where there is more than one of whole numbers."""

MOST_ROWS_A_BYTE = 1
"""A row holds an image, which is no less than a byte."""

MOST_TIMES, SLACK = 2, 64 << 20
"""What a file may unpack to: so many times its bytes, and so many bytes more."""


def open_parquet(root: Path, reading: Reading) -> Dataset:
    """The images in the Parquet files under ``root``, or in the file it names, which then is the one split there is.

    Raises:
        UserError: if there is no such file, its columns tell no image or no label, or pyarrow is not installed.
    """
    files = [root] if root.is_file() else sorted(root.rglob("*.parquet"))
    if not files:
        problem = "holds no .parquet file" if root.is_dir() else "does not exist"
        raise UserError(f"{root} {problem}", hint="Name a Parquet file, or a folder with train-*.parquet and test-*.parquet.")
    tables = {part: _of(part, files) for part in PARTS}
    if not any(tables.values()):
        told = ", ".join(file.name for file in files[:4])
        raise UserError(f"{root}: no file's name begins with train, test or validation ({told})", hint="Rename them.")
    names = _class_names(next(file for found in tables.values() for file in found))
    classes = len(names) or 1 + max(max(_labels(file)) for found in tables.values() for file in found)

    def read(part: str) -> Encoded:
        if not tables[part]:
            told = ", ".join(PARTS[part])
            raise UserError(f"{root} holds no file of {part} images: none begins with {told}", hint="Name the folder of both.")
        return _encoded(tables[part], classes)

    return Dataset("parquet", classes, names, root, lambda part: read_split(read(part), reading))


def _of(part: str, files: Sequence[Path]) -> list[Path]:
    """The files of a split, by their names or their folders'."""
    for name in PARTS[part]:
        if found := [file for file in files if file.name.startswith(name) or file.parent.name == name]:
            return found
    return []


def _arrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("Parquet files are read through pyarrow", hint='pip install "idsnn-convert[data]"') from error
    return pyarrow.parquet


def _table(file: Path, columns: list[str]) -> Any:
    arrow = _arrow()
    try:
        with arrow.ParquetFile(file) as opened:
            _check_rows(file, opened.metadata)
            return _gathered(file, opened, columns)
    except UserError:
        raise
    except Exception as error:  # a damaged file can fail in a dozen ways
        raise _damaged(file, error) from error


def _check_rows(file: Path, metadata: Any) -> None:
    """A row takes a bit at least where it repeats the one before, so few bytes may declare any number of them."""
    size = file.stat().st_size
    # Of the columns nothing is asked: where their own notes are damaged, pyarrow ends the process instead of raising.
    packed = sum(metadata.row_group(k).total_byte_size for k in range(metadata.num_row_groups))
    if metadata.num_rows > MOST_ROWS_A_BYTE * size or packed > MOST_TIMES * size + SLACK:
        raise UserError(
            f"{file} declares {metadata.num_rows:,} rows of {packed:,} bytes, and has {size:,}",
            hint="Images are compressed already.",
        )


def _gathered(file: Path, opened: Any, columns: list[str]) -> Any:
    """The columns, read a few rows at a time: a value that is stored once may stand in every row."""
    import pyarrow

    size = file.stat().st_size
    most, taken, batches = MOST_TIMES * size + SLACK, 0, []
    for batch in opened.iter_batches(batch_size=max(1, min(4096, SLACK // size)), columns=columns):
        taken += batch.nbytes
        if taken > most:
            raise UserError(
                f"{file} unpacks to more than {most:,} bytes, and has {size:,}", hint="Images are compressed already."
            )
        batches.append(batch)
    return pyarrow.Table.from_batches(batches, opened.schema_arrow.empty_table().select(columns).schema)


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"cannot read {file}: {str(error).splitlines()[0]}", hint="Is it a Parquet file, and whole?")


def _schema(file: Path) -> Any:
    arrow = _arrow()
    try:
        return arrow.read_schema(file)
    except Exception as error:
        raise _damaged(file, error) from error


def _columns(file: Path) -> tuple[str, str]:
    """Names of the image column and of the label column."""
    import pyarrow.types as kinds

    schema = _schema(file)
    fields = [schema.field(k) for k in range(len(schema.names))]
    images = [f.name for f in fields if kinds.is_binary(f.type) or kinds.is_large_binary(f.type) or _holds_bytes(f.type)]
    numbers = [f.name for f in fields if kinds.is_integer(f.type)]
    labels = [name for name in LABELS if name in numbers] or numbers
    if len(images) != 1 or not labels or (len(labels) > 1 and labels[0] not in LABELS):
        told = ", ".join(f"{f.name} ({f.type})" for f in fields)
        raise UserError(f"{file}: which column holds images and which labels cannot be told", hint=f"There are {told}.")
    return images[0], labels[0]


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_struct(kind)) and any(kind.field(k).name == "bytes" for k in range(kind.num_fields))


def _class_names(file: Path) -> tuple[str, ...]:
    """The names that the Hub's own description in the file gives the labels; none if there is no such description."""
    try:
        told = parsed_json((_schema(file).metadata or {})[b"huggingface"])
        names = told["info"]["features"][_columns(file)[1]]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _labels(file: Path) -> list[int]:
    label = _columns(file)[1]
    found: list[int | None] = _table(file, [label]).column(label).to_pylist()
    if not found:
        raise UserError(f"{file} holds no image")
    if missing := [row for row, value in enumerate(found) if value is None]:
        raise UserError(f"{file}: image {missing[0]} has no label")
    return [int(value) for value in found if value is not None]


def _encoded(files: list[Path], classes: int) -> Encoded:
    chunks, names, labels = [], list[str](), list[int]()
    for file in files:
        image, _ = _columns(file)
        chunks += _table(file, [image]).column(image).chunks
        labels += _labels(file)
        names += [f"{file}, row {row}" for row in range(len(labels) - len(names))]
    if wrong := [row for row, label in enumerate(labels) if not 0 <= label < classes]:
        raise UserError(f"{names[wrong[0]]} has label {labels[wrong[0]]}, outside 0 to {classes - 1}")
    place = [(chunk, row) for chunk in chunks for row in range(len(chunk))]
    if len(place) != len(labels):
        told = f"{files[0]} and its like hold {len(place):,} images and {len(labels):,} labels"
        raise UserError(told, hint="Is it a Parquet file, and whole?")

    def read(row: int) -> bytes:
        chunk, within = place[row]
        stored = chunk[within].as_py()
        raw = stored.get("bytes") if isinstance(stored, dict) else stored
        if not isinstance(raw, bytes):
            raise UserError(
                f"{names[row]} holds no image, but at most the path of one", hint="Take files that hold the images."
            )
        return raw

    return Encoded(names, read, torch.tensor(labels), classes)
