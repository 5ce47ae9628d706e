"""Zip archives of records, such as torch writes, held against bounds before anything in them is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from idsnn_convert.runtime.errors import UserError

MOST_RECORDS = 100_000
"""Records that an archive may have; torch writes one a tensor."""

LARGEST_DIRECTORY = 16 << 20
"""Bytes that an archive's directory may have; Python takes ten times as many for it."""

LARGEST_PICKLE = 64 << 20
"""Most bytes of an archive's description of its tensors; those of the tensors are not counted."""

DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, NotImplementedError, RecursionError)
"""What reading damaged bytes raises; NotImplementedError is zipfile's answer to a compression it does not know."""

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_LONGEST_COMMENT = 1 << 16


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip archive in ``path``, its directory within bounds; whatever reading damaged bytes raises becomes one message."""
    try:
        check_directory(path)
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DAMAGE as error:
        raise damaged(path, error) from error


def check_directory(path: Path) -> None:
    """Looks at how large an archive's directory says it is. One without an end is left to zipfile to refuse.

    Raises:
        UserError: if it has more entries, or more bytes, than an archive of tensors can have.
    """
    with path.open("rb") as file:
        entries, size = _directory(file, path.stat().st_size)
    if entries > MOST_RECORDS or size > LARGEST_DIRECTORY:
        raise UserError(
            f"{path}: its directory lists {entries:,} records in {size:,} bytes; at most {MOST_RECORDS:,} in "
            f"{LARGEST_DIRECTORY:,} are read"
        )


def _directory(file: BinaryIO, length: int) -> tuple[int, int]:
    """Number of entries and bytes of the directory, as the archive's end tells them; zipfile goes by the bytes."""
    start = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(start)
    tail = file.read()
    at = len(tail) - _END.size  # as zipfile looks for it: without a comment, else the last there is
    if not (tail[at:].startswith(b"PK\x05\x06") and tail.endswith(b"\0\0")):
        at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return 0, 0
    _, _, _, _, entries, size, _, _ = _END.unpack_from(tail, at)
    if at >= _LOCATOR.size and tail[at - _LOCATOR.size :][:4] == b"PK\x06\x07":
        file.seek(max(0, start + at - _LOCATOR.size - _END64.size))
        if len(wide := file.read(_END64.size)) == _END64.size and wide[:4] == b"PK\x06\x06":
            entries, size = _END64.unpack(wide)[7:9]
    return entries, size


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


def repacked(archive: zipfile.ZipFile, without: str = "\0") -> io.BytesIO:
    """The same records in an archive of our making, with code as it was unpacked; but those whose names end in ``without``.

    torch finds an archive's directory in another way than Python does; of this one there is but one way to read it.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as plain:
        for record in archive.infolist():
            if not record.filename.endswith(without):
                plain.writestr(record.filename, archive.read(record))
    made.seek(0)
    return made


def damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is cut short or damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        hint="Download or copy it again, and compare its size with the original's. Nothing in it was executed.",
    )
