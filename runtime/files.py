"""Writing files so that a reader finds the old one or the new one, never half of either, whenever the process dies.

What is not finished lies in a folder of its own, ``.idsnn-*.part``, beside its place. A process that is killed leaves it
behind; the next one that writes into the same folder removes it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from idsnn_convert.runtime.errors import UserError

PREFIX, SUFFIX = ".idsnn-", ".part"
PATIENCE = 1.0
"""Seconds to wait for a process that removes leftovers."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h

CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)
"""How a file system says that folders cannot be synced there, or not by this user."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path of the same name; on a clean exit its bytes are on disk and take ``path``'s place.

    The folder it is in is its own: what a library leaves there besides is removed with it.

    Raises:
        UserError: if the folder is missing or cannot be written, or the disk is full; ``path`` is untouched then.
    """
    with _beside(path) as part:
        yield part
        publish(part, path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder of files: an empty one, which on a clean exit takes ``path``'s place with what is in it.

    A folder that stood there changes places with it at one moment, where the system can do that. Elsewhere it is moved aside
    first: for a moment there is none.

    Raises:
        UserError: as :func:`replacing`.
    """
    with _beside(path) as part:
        part.mkdir()
        yield part
        for file in part.iterdir():
            publish(file, file)
        if not (path.exists() and _exchanged(part, path)):
            _put_in_place(part, path)
        sync_folder(path.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether two names changed places: Linux can do that on most of its file systems (renameat2)."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    return bool(rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _put_in_place(part: Path, path: Path) -> None:
    """Moves what stands at ``path`` aside, and ``part`` there."""
    old = part.parent.with_suffix(".old")  # not among the leftovers, should this be the end
    if path.exists():
        path.replace(old)
    try:
        part.replace(path)
    except OSError:
        if old.exists():
            old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder of its own, which is gone afterwards; what goes wrong is told."""
    with _announced(path.parent):
        try:
            made = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX, dir=path.parent))
        except OSError as error:
            hint = "Is the folder there, and may you write to it?"
            raise UserError(f"cannot write {path}: {error.strerror}", hint=hint) from error
        try:
            yield made / path.name
        except (OSError, SafetensorError) as error:
            raise cannot_write(path, error) from error
        finally:
            shutil.rmtree(made, ignore_errors=True)


def cannot_write(path: Path, error: Exception) -> UserError:
    """What to tell the user of a failed write, such as on a full disk; safetensors has errors of its own for that."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    hint = "Is there room? What was written before is whole; a run goes on from there with --resume."
    return UserError(f"cannot write {path}: {reason}", hint=hint)


def publish(part: Path, path: Path) -> None:
    """Gives the finished file ``part`` the name ``path``, in the same file system; both are on disk when this returns."""
    umask = os.umask(0)
    os.umask(umask)
    part.chmod(0o666 & ~umask)  # what makes temporary files makes them for their owner alone
    sync(part)
    part.replace(path)
    sync_folder(path.parent)


def sync(path: Path) -> None:
    """The bytes of a file are on disk when this returns."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """The names in a folder are on disk when this returns, where the file system can do that."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except PermissionError:  # one may write into a folder that one may not list
        return
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8, all or nothing."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def tidy(folder: Path) -> None:
    """Removes what dead processes left unfinished in ``folder``, unless another process is writing there."""
    with _announced(folder):
        pass


@contextmanager
def _announced(folder: Path) -> Iterator[None]:
    """Within, other processes know that files are being written in ``folder``: they leave what is not finished alone.

    They know by a shared lock on the folder, which ends with the process. Whoever gets the lock for himself knows that
    nobody writes there, so that everything unfinished is a dead process's. Where nothing can be locked all is left alone.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # whoever writes next finds out why
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sweep(folder)
        _share(handle)
        yield
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{PREFIX}*{SUFFIX}"):
        shutil.rmtree(left, ignore_errors=True)


def _share(handle: int) -> None:
    """Takes the shared lock; does without where somebody keeps the folder to himself, as flock(1) may, or none can be had."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.01)
                continue
        except OSError:
            pass
        return
