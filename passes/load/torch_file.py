"""Reads what torch.save wrote, without running any of it."""

from __future__ import annotations

import io
import pickletools
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from idsnn_convert.passes.load.forms import LEGACY_MAGIC
from idsnn_convert.runtime.errors import UserError

LARGEST_PICKLE = 64 << 20
"""Most bytes of an archive's description of its tensors; those of the tensors are not counted."""

HOSTILE = frozenset(
    ("os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "runpy", "importlib", "ctypes", "pty", "webbrowser")
)
"""Modules no checkpoint has a reason to name."""

_BUILT_IN_HOSTILE = frozenset(
    f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("eval", "exec", "compile", "open", "__import__")
)


LIBRARIES = (
    "torch.nn.modules.",
    "torch.nn.parallel.data_parallel.DataParallel",
    "torchvision.models.",
    "torchvision.ops.",
    "timm.models.",
    "timm.layers.",
)
"""Where the classes of a whole model must come from for it to be read: what their dotted names begin with."""


WHOLE = "Whole models are read if all their classes are torch's, torchvision's or timm's, and torch 1.6 or later saved them."


class Skipped:
    """Stands in for a value that checkpoints often carry beside their weights; takes anything and keeps nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


STAND_INS: tuple[str, ...] = (
    "argparse.Namespace",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    *(f"numpy.dtypes.{name}DType" for name in ("Float16", "Float32", "Float64", "Int32", "Int64", "Bool")),
)
"""Settings and scores beside the weights: read as :class:`Skipped`, so that the real class is never called."""


def read_archive(path: Path, classes: Sequence[type] = ()) -> Any:
    """The object in a torch.save archive (a zip); of other classes than tensors and containers, it may hold ``classes``.

    Raises:
        UserError: if the archive is damaged, packed, or names other Python objects than tensors and containers.
    """
    check_archive(path)
    return _read(path, classes)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip archive in ``path``; whatever reading damaged bytes raises becomes one message.

    NotImplementedError is zipfile's answer to a compression it does not know.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, NotImplementedError, RecursionError) as error:
        raise damaged(path, error) from error


def check_archive(path: Path) -> None:
    """Holds a torch.save archive's records and its pickle's protocol against what torch.save writes.

    Raises:
        UserError: at the first that differs.
    """
    with opened(path) as archive:
        records = archive.infolist()
        check_records(path, records)
        starts = [archive.open(record).read(2) for record in records if record.filename.endswith("/data.pkl")]
    for start in starts:
        _check_protocol(path, start)


def read_legacy(path: Path) -> Any:
    """The object in a torch.save file from before torch 1.6; never a whole model, whose form torch's safe reader lacks.

    Raises:
        UserError: if the file is damaged, or names other Python objects than tensors and containers.
    """
    return _read(path)


def check_records(path: Path, records: list[zipfile.ZipInfo], packed: Callable[[str], bool] = lambda name: False) -> None:
    """torch.save stores records as they are; a packed one may unpack to any size, and no tensor needs that.

    ``packed`` names the records that may be compressed all the same.

    Raises:
        UserError: at a record that is compressed, stands there twice, is too long, or longer than the file.
    """
    seen: set[str] = set()
    for record in records:
        name = f"{path}: its record {record.filename!r}"
        if record.filename in seen:
            raise UserError(f"{name} stands there twice; torch.save does not write such files")
        seen.add(record.filename)
        stored = record.compress_type == zipfile.ZIP_STORED and record.compress_size == record.file_size
        if not stored and not packed(record.filename):
            raise UserError(
                f"{name} is compressed ({record.compress_size:,} bytes for {record.file_size:,}), as torch.save never does",
                hint="It was not read. If you packed it yourself, unpack it and save it with torch.save.",
            )
        if record.filename.endswith("/data.pkl") and record.file_size > LARGEST_PICKLE:
            raise UserError(f"{name}, its description, is {record.file_size:,} bytes long; at most {LARGEST_PICKLE:,} are read")
    if (
        total := sum(record.compress_size if packed(record.filename) else record.file_size for record in records)
    ) > path.stat().st_size:
        raise UserError(f"{path}: its records claim {total:,} bytes, more than the file has")


def _check_protocol(path: Path, start: bytes) -> None:
    if start[:1] == b"\x80" and start != b"\x80\x02":
        raise UserError(
            f"{path} was pickled with protocol {start[1]}; only torch.save's own, 2, can be read without running what it holds",
            hint=f"Save it again where it was made, if you trust it: "
            f'torch.save(torch.load({str(path)!r}, weights_only=False), "weights.pt")',
        )


def _read(path: Path, classes: Sequence[type] = ()) -> Any:
    """No memory map: a record's size is compared with its tensor's only when the record is read."""
    allowed: list[Any] = [*classes, *((Skipped, name) for name in STAND_INS)]
    with safe_globals(allowed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever torch warns of, either the tensors come out or an error does
        try:
            with path.open("rb") as file:  # not the path: torch would go by its ending
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes can raise nearly anything
            raise _explained(path, error) from error


def _explained(path: Path, error: Exception) -> UserError:
    if foreign := foreign_globals(path):
        return _refused(path, foreign)
    return damaged(path, error)


def damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is cut short or damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        hint="Download or copy it again, and compare its size with the original's. Nothing in it was executed.",
    )


def foreign_globals(path: Path) -> list[str]:
    """Dotted names of the Python objects a torch.save file asks for that are not known to be safe, sorted.

    Found by reading the pickle's instructions, not by following them. Empty if there are none or the file is damaged.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(LEGACY_MAGIC)) != LEGACY_MAGIC:
                return sorted(get_unsafe_globals_in_checkpoint(str(path)))
            file.seek(0)
            return sorted(get_unsafe_globals_in_checkpoint(_as_archive(_object_pickle(file))))
    except Exception:  # damaged bytes can raise nearly anything
        return []


def _object_pickle(file: BinaryIO) -> bytes:
    """The fourth pickle of a legacy file, after magic number, protocol and system."""
    start = 0
    for _ in range(4):
        start = file.tell()
        for _ in pickletools.genops(file):
            pass
    end = file.tell()
    file.seek(start)
    return file.read(end - start)


def _as_archive(data: bytes) -> BinaryIO:
    """A pickle in a zip such as torch.save writes now: torch lists the globals of no other file."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3")
    made.seek(0)
    return made


def _refused(path: Path, foreign: list[str]) -> UserError:
    culprits = [name for name in foreign if not name.startswith(LIBRARIES)] or foreign
    named = ", ".join(culprits[:8]) + (f" and {len(culprits) - 8} more" if len(culprits) > 8 else "")
    if any(name.partition(".")[0] in HOSTILE or name in _BUILT_IN_HOSTILE for name in foreign):
        return UserError(
            f"{path} asks Python for {named}: loading it the usual way could run commands. Nothing was executed",
            hint="Do not load this file with other programs either. Get the weights from a source you trust.",
        )
    whole = any(name.startswith("torch.nn.modules.") for name in foreign)
    weights = "saved.state_dict()" if whole else 'saved["state_dict"]'
    steps = f'saved = torch.load({str(path)!r}, weights_only=False); torch.save({weights}, "weights.pt")'
    return UserError(
        f"{path} holds {'a whole model object' if whole else 'other Python objects than weights'}; "
        f"it asks Python for {named}. Nothing was executed",
        hint=f"Save the weights alone where the file was made, if you trust it: {steps}" + (f". {WHOLE}" if whole else ""),
    )
