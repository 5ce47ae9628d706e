"""Reads what torch.save wrote, without running any of it."""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from idsnn_convert.passes.load.forms import LEGACY_MAGIC
from idsnn_convert.passes.load.records import check_records, damaged, opened
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.steps import check_steps

LEGACY_PICKLES = 5
"""In a file from before torch 1.6: a magic number, the protocol, the system, the object, the storages' keys."""

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


WHOLE = "Whole models are read if all their classes are torch's, torchvision's or timm's, and torch 1.6 or later saved them. "


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
    return read_checked(path, classes)


def check_archive(path: Path) -> None:
    """Holds a torch.save archive's records and its pickle's instructions against what torch.save writes.

    Raises:
        UserError: at the first that differs.
    """
    with opened(path) as archive:
        records = archive.infolist()
        check_records(path, records)
        for record in records:
            if record.filename.endswith("/data.pkl"):
                data = archive.read(record)
                _check_protocol(path, data[:2])
                check_steps(f"{path}: its record {record.filename!r}", data)


def read_legacy(path: Path, classes: Sequence[type | tuple[Any, str]] = ()) -> Any:
    """The object in a torch.save file from before torch 1.6; never a whole model, whose form torch's safe reader lacks.

    Raises:
        UserError: if the file is damaged, or names other Python objects than tensors and containers.
    """
    try:
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                check_steps(str(path), file)
    except (ValueError, OSError, MemoryError, OverflowError) as error:
        raise damaged(path, error) from error
    return read_checked(path, classes)


def _check_protocol(path: Path, start: bytes) -> None:
    if start[:1] == b"\x80" and start != b"\x80\x02":
        raise UserError(
            f"{path} was pickled with protocol {start[1]}; only torch.save's own, 2, can be read without running what it holds",
            hint=f"Save it again where it was made, if you trust it: "
            f'torch.save(torch.load({str(path)!r}, weights_only=False), "weights.pt")',
        )


def read_mapped(path: Path) -> Any:
    """As :func:`read_checked`, but the tensors lie in the file's own pages: what nobody looks at is never read.

    Through a memory map torch compares no record's size with its tensor's, so that is done here. A file that fails at anything
    is read the usual way, which tells why. Whoever writes into the file meanwhile, not beside it, changes the tensors.
    """
    if path.suffix != ".safetensors":  # torch would go by the ending
        with suppress(Exception):
            content = _content(path, str(path), (), mmap=True)
            with opened(path) as archive:
                stored = Counter(record.file_size for record in archive.infolist())
            if Counter(_storages(content)) <= stored:
                return content
    return read_checked(path)


def read_checked(path: Path, classes: Sequence[type | tuple[Any, str]] = ()) -> Any:
    """The object in a file that :func:`check_archive` has let pass; ``classes`` may stand in for others by name.

    Raises:
        UserError: as :func:`read_archive`, or if its tensors take more bytes than the file has.
    """
    with path.open("rb") as file:  # not the path: torch would go by its ending
        content = _content(path, file, classes)
    if (total := sum(_storages(content))) > path.stat().st_size:
        raise UserError(f"{path}: its tensors take {total:,} bytes, more than the file has. Nothing was executed")
    return content


def _content(path: Path, file: BinaryIO | str, classes: Sequence[type | tuple[Any, str]], **how: bool) -> Any:
    allowed: list[Any] = [*classes, *((Skipped, name) for name in STAND_INS)]
    with safe_globals(allowed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever torch warns of, either the tensors come out or an error does
        try:
            return torch.load(file, map_location="cpu", weights_only=True, **how)
        except Exception as error:  # damaged bytes can raise nearly anything
            raise _explained(path, error) from error


def _storages(content: Any) -> list[int]:
    """Bytes of each piece of memory that the tensors in ``content`` lie in: a pickle may also ask for tensors of any size that
    nothing was stored for."""
    seen, pending, storages = set[int](), [content], dict[int, int]()
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu":
            if size := value.untyped_storage().nbytes():
                storages[value.untyped_storage().data_ptr()] = size
        elif id(value) not in seen:
            seen.add(id(value))
            pending += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            pending += vars(value).values() if hasattr(value, "__dict__") and not isinstance(value, type) else ()
    return list(storages.values())


def _explained(path: Path, error: Exception) -> UserError:
    if foreign := foreign_globals(path):
        return _refused(path, foreign)
    _, _, reason = str(error).rpartition("WeightsUnpickler error: ")  # torch's advice comes before it
    return damaged(path, pickle.UnpicklingError(reason.strip()) if reason.strip() else error)


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


def is_hostile(name: str) -> bool:
    """Whether no checkpoint has a reason to ask for it, and who does may run commands."""
    return name.partition(".")[0] in HOSTILE or name in _BUILT_IN_HOSTILE


def _refused(path: Path, foreign: list[str]) -> UserError:
    culprits = [name for name in foreign if not name.startswith(LIBRARIES)] or foreign
    named = ", ".join(culprits[:8]) + (f" and {len(culprits) - 8} more" if len(culprits) > 8 else "")
    if any(map(is_hostile, foreign)):
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
        hint=f"Save the weights alone where the file was made, if you trust it: {steps}. {WHOLE if whole else ''}"
        f"To let it run code here: {' '.join(f'--allow-global {name}' for name in culprits[:8])}; or, for all of it, "
        "--unsafe-pickle.",
    )
