"""Writing files so that a reader finds the old one or the new one, never half of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from idsnn_convert.runtime.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on a clean exit its bytes are on disk and take ``path``'s place.

    Raises:
        UserError: if the folder is missing or cannot be written, or the disk is full; ``path`` is untouched then.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        hint = "Is the folder there, and may you write to it?"
        raise UserError(f"cannot write {path}: {error.strerror}", hint=hint) from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        _publish(part, path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception) -> UserError:
    """What to tell the user of a failed write, such as on a full disk; safetensors has errors of its own for that."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    hint = "Is there room? What was written before is whole; a run goes on from there with --resume."
    return UserError(f"cannot write {path}: {reason}", hint=hint)


def _publish(part: Path, path: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    part.chmod(0o666 & ~umask)  # mkstemp makes files for their owner alone
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8, all or nothing."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
