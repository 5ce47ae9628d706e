"""The folder of one training run: what it holds, who may write to it, and what a run is resumed from.

``recipe.toml``: every setting. ``metrics.jsonl``: one JSON object an epoch. ``best.safetensors``,
``last.safetensors``: checkpoints; ``best_ema.safetensors``, ``last_ema.safetensors``: those of the weights' moving
average, if one is kept. ``state.safetensors``: all that a resumed run needs, in one file, so that its parts
cannot disagree. No pickle anywhere.

An epoch's files change together. They are made in the folder ``.next``; then the state is replaced, which names them by
their SHA-256, and that is the moment the epoch counts; then they are moved to their places. A run that dies before that
moment finds the old files, one that dies after it moves what was left to move.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import cannot_write, sync_folder, tidy, write_text
from idsnn_convert.runtime.recipe import Recipe
from idsnn_convert.runtime.sealed_file import read_sealed, write_sealed

STATE_KEY = "idsnn_state"


@dataclass(frozen=True)
class RunFolder:
    """Made by :func:`open_run`, which holds the lock."""

    path: Path

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def best_ema(self) -> Path:
        return self.path / "best_ema.safetensors"

    @property
    def last_ema(self) -> Path:
        return self.path / "last_ema.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state.safetensors"

    @property
    def next(self) -> RunFolder:
        """Where the files of an epoch wait for the state that names them."""
        return RunFolder(self.path / ".next")

    def write_recipe(self, recipe: Recipe) -> None:
        """Every setting of the run, as a recipe file of its own."""
        write_text(self.path / "recipe.toml", recipe.to_toml())

    @contextmanager
    def staged(self) -> Iterator[RunFolder]:
        """:attr:`next`, empty, to put an epoch's files into; removed if that fails."""
        self._forget()
        try:
            self.next.path.mkdir()
        except OSError as error:
            raise cannot_write(self.next.path, error) from error
        try:
            yield self.next
        except BaseException:
            self._forget()
            raise

    def stage_metrics(self, record: Mapping[str, Any]) -> None:
        """The epochs' lines so far and one more, into :attr:`next`."""
        before = self.metrics.read_text(encoding="utf-8") if self.metrics.exists() else ""
        write_text(self.next.metrics, before + json.dumps(record, allow_nan=False) + "\n")

    def hashes(self) -> dict[str, str]:
        """Name of each file in the folder -> its SHA-256."""
        return {file.name: _sha256(file) for file in sorted(self.path.iterdir()) if file.is_file()}

    def settle(self, files: Mapping[str, str]) -> None:
        """Moves what the state names from :attr:`next` to its place, and removes the rest of it.

        Args:
            files: names and SHA-256, as :meth:`hashes` gives them.
        """
        waiting = self.next.hashes() if self.next.path.is_dir() else {}
        try:
            for name in waiting.keys() & files.keys():
                if waiting[name] == files[name]:
                    (self.next.path / name).replace(self.path / name)
            if waiting:
                sync_folder(self.path)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._forget()

    def check(self, files: Mapping[str, str]) -> None:
        """Whether the files are those that the state names. One that was removed is no mistake.

        Raises:
            UserError: naming the first that is not.
        """
        for name, wanted in files.items():
            place = self.path / name
            if place.exists() and _sha256(place) != wanted:
                problem = f"{place} is not the file that the run wrote: it was damaged or replaced (SHA-256)"
                raise UserError(problem, hint="Put it back, or remove it: the run then goes on without it.")

    def _forget(self) -> None:
        if self.next.path.exists():
            shutil.rmtree(self.next.path, ignore_errors=True)

    def write_state(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replaces the state; ``facts`` are JSON-native."""
        write_sealed(self.state, STATE_KEY, tensors, facts)

    def read_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What :meth:`write_state` wrote.

        Raises:
            UserError: if the file cannot be read, is damaged or is something else.
        """
        return read_sealed(self.state, STATE_KEY, "Start the run anew in another folder.")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def open_run(path: Path, resume: bool) -> Iterator[RunFolder]:
    """The run in the folder ``path``, this process its only writer; the folder is made if it is not there.

    Raises:
        UserError: if another process writes to it, telling which; if it holds a run and ``resume`` is not asked for; if it
            holds none and it is; or if it cannot be written or locked.
    """
    folder = RunFolder(path)
    if resume and not folder.state.exists():
        raise UserError(f"{path} holds no run to resume", hint="Leave out --resume to start one there.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to the run folder {path}: {error.strerror}") from error
    with lock:  # closing the file gives the lock back, as does the end of the process, however it comes
        _lock(lock, path)
        tidy(path)
        if not resume and (found := [file.name for file in (folder.state, folder.metrics, folder.last) if file.exists()]):
            raise UserError(f"{path} already holds a run ({found[0]})", hint="Resume it (--resume), or name another folder.")
        yield folder


def _lock(lock: IO[str], path: Path) -> None:
    """Locks the open file for this process alone, and writes into it which that is."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read(200).strip() or "another process"
        raise UserError(f"{holder} is training in {path}", hint="Wait for it, or name another folder.") from error
    except OSError as error:
        hint = "Train in a folder on a file system that can, such as a local disk."
        raise UserError(f"the file system of {path} cannot lock files: {error.strerror}", hint=hint) from error
    try:
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
    except OSError as error:
        raise cannot_write(path / ".lock", error) from error
