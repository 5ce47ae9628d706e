"""Fetching a published file: resumed where it broke off, checked, and only then given its name."""

from __future__ import annotations

import errno
import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import publish

TRIES = 5
"""Connections that may break off before the rest is left to the next run."""

TIMEOUT = 60
"""Seconds without a byte after which a connection counts as broken."""

CHUNK = 1 << 20

Watch = Callable[[int, int], None]
"""Called with the bytes that have arrived and the bytes in all."""


@dataclass(frozen=True)
class Remote:
    """A file at its publisher's: where, how many bytes, and the MD5 of them that the publisher states.

    MD5 finds damage; against forgery it is as good as the connection.
    """

    url: str
    size: int
    md5: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def fetch(remote: Remote, place: Path, watch: Watch = lambda done, of: None) -> None:
    """Puts the file at ``place``. What arrives before a break stays beside it, for the next attempt.

    Raises:
        UserError: if it cannot be had, is not the file its publisher describes, or does not fit on the disk.
    """
    part = place.with_name(f".{place.name}.part")
    try:
        _check_space(place.parent, remote.size - _size(part))
        _receive(remote, part, watch)
        _check(remote, part)
        publish(part, place)
    except OSError as error:
        raise no_space(place.parent, remote.size) if error.errno == errno.ENOSPC else _unwritable(place, error) from error


def _unwritable(place: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {place}: {error.strerror or error}")


def no_space(folder: Path, needed: int) -> UserError:
    """The error for a disk that is full, or will be."""
    free = shutil.disk_usage(folder).free
    return UserError(f"not enough space in {folder}: {free:,} bytes are free, {needed:,} are needed", hint="Make room first.")


def _check_space(folder: Path, needed: int) -> None:
    if needed > shutil.disk_usage(folder).free:
        raise no_space(folder, needed)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(remote: Remote, part: Path, watch: Watch) -> None:
    """Appends to ``part`` until it is whole."""
    reason = ""
    for _ in range(TRIES):
        if _size(part) >= remote.size:
            return
        try:
            reason = _receive_some(remote, part, watch)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                hint = "Fetch it by hand, or name a folder that holds it."
                raise UserError(f"cannot fetch {remote.url}: the server says {error.code} {error.reason}", hint=hint) from error
            reason = f"{error.code} {error.reason}"
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    if (arrived := _size(part)) < remote.size:
        told = f"cannot fetch {remote.url}: {reason} ({arrived:,} of {remote.size:,} bytes arrived)"
        kept = "What has arrived is kept; the same command goes on from there."
        raise UserError(told, hint=kept if arrived else f"Is there a connection? Or fetch it by hand into {part.parent}.")


def _receive_some(remote: Remote, part: Path, watch: Watch) -> str:
    """One connection; what it says if it ends early."""
    have = _size(part)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "idsnn-convert"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        have = have if _continues(response, have) else 0
        if (whole := _whole(response)) not in (None, remote.size):
            part.unlink(missing_ok=True)
            raise _other_file(remote, f"{whole:,} bytes, not {remote.size:,}")
        with part.open("ab" if have else "wb") as file:
            while have <= remote.size and (chunk := response.read(CHUNK)):
                file.write(chunk)
                have += len(chunk)
                watch(have, remote.size)
    return "the connection broke off"


def _continues(response: HTTPResponse, have: int) -> bool:
    """Whether the server goes on at byte ``have``, and does not begin anew."""
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _whole(response: HTTPResponse) -> int | None:
    """The size of the whole file, if the server tells."""
    partly = response.headers.get("Content-Range", "").rpartition("/")[2]
    told = partly if response.status == 206 else response.headers.get("Content-Length", "")
    return int(told) if told.isdigit() else None


def _other_file(remote: Remote, told: str) -> UserError:
    problem = f"what {remote.url} sends is not the published file: {told}"
    return UserError(problem, hint="Nothing of it was kept. Fetch it by hand, or name a folder that holds it.")


def _check(remote: Remote, part: Path) -> None:
    """Raises UserError, and removes ``part``, if it is not the file that was published."""
    with part.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    size = _size(part)
    if (size, md5) == (remote.size, remote.md5):
        return
    part.unlink()
    raise _other_file(remote, f"{size:,} bytes, not {remote.size:,}" if size != remote.size else f"MD5 {md5}, not {remote.md5}")
