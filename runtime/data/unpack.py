"""Unpacking an archive from elsewhere: nothing outside its folder, nothing but files, no more than was expected."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from idsnn_convert.runtime.data.download import no_space
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import sync_folder

CHUNK = 1 << 20
PREFIX = ".unpacking-"

Member = tuple[str, int, IO[bytes]]
"""A file in an archive: its name, the size it declares, and its content."""


def unpack(archive: Path, folder: Path, most: int) -> None:
    """The files of a ``.tar.gz`` or ``.zip`` under ``folder``, where they appear all at once when all is well.

    No other process may unpack into ``folder``: what one that died left there is removed.

    Args:
        most: bytes they may have together.

    Raises:
        UserError: if the archive is damaged, names a place outside, holds links or devices, is larger than ``most``, or
            something of its name is there; ``folder`` is as before then.
    """
    for left in folder.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as made:
            with _members(archive) as members:
                _write(archive, members, Path(made), most)
            os.sync()  # all at once: an archive may hold a hundred thousand files
            for entry in Path(made).iterdir():
                entry.rename(folder / entry.name)
            sync_folder(folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{archive} is damaged: {error}", hint="Remove it and fetch it again.") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise no_space(folder, most) from error
        raise UserError(f"cannot unpack {archive} into {folder}: {error.strerror or error}") from error


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            yield ((info.filename, info.file_size, zipped.open(info)) for info in zipped.infolist() if not info.is_dir())
    else:
        with tarfile.open(archive, "r:gz") as tar:
            yield (_file(archive, tar, member) for member in tar if not member.isdir())


def _file(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Member:
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise UserError(f"{archive} holds {member.name!r}, which is no plain file; nothing was unpacked")
    return member.name, member.size, content


def _write(archive: Path, members: Iterator[Member], folder: Path, most: int) -> None:
    written = 0
    for name, size, content in members:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            raise UserError(f"{archive} holds {name!r}, a place outside its folder; nothing was unpacked")
        written += size
        if written > most:
            raise UserError(f"{archive} holds more than the {most:,} bytes it should; nothing was unpacked")
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, place.open("xb") as file:
            shutil.copyfileobj(content, file, CHUNK)
