"""The folder of one training run: what it holds, who may write to it, and what a run is resumed from.

``recipe.toml``: every setting. ``metrics.jsonl``: one JSON object an epoch. ``best.safetensors``,
``last.safetensors``: checkpoints; ``best_ema.safetensors``, ``last_ema.safetensors``: those of the weights' moving
average, if one is kept. ``state.safetensors``: all that a resumed run needs, in one file, so that its parts
cannot disagree. No pickle anywhere.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import cannot_write, replacing, write_text
from idsnn_convert.runtime.recipe import Recipe

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

    def write_recipe(self, recipe: Recipe) -> None:
        """Every setting of the run, as a recipe file of its own."""
        write_text(self.path / "recipe.toml", recipe.to_toml())

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Adds one line, on disk when this returns."""
        line = json.dumps(record, allow_nan=False) + "\n"
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.metrics, error) from error

    def keep_metrics(self, epochs: int) -> None:
        """Drops what was written after the first ``epochs`` lines: a resumed run writes it again."""
        lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True) if self.metrics.exists() else []
        if len(lines) > epochs:
            write_text(self.metrics, "".join(lines[:epochs]))

    def write_state(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replaces the state; ``facts`` are JSON-native."""
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with replacing(self.state) as part:
            save_file(plain, part, {STATE_KEY: json.dumps(facts, allow_nan=False)})

    def read_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What :meth:`write_state` wrote.

        Raises:
            UserError: if the file cannot be read or is something else.
        """
        try:
            with safe_open(self.state, framework="pt") as file:
                facts = json.loads((file.metadata() or {})[STATE_KEY])
                return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise UserError(f"{self.state} cannot be read: {error}", hint="Start the run anew in another folder.") from error


@contextmanager
def open_run(path: Path, resume: bool) -> Iterator[RunFolder]:
    """The run in the folder ``path``, this process its only writer; the folder is made if it is not there.

    Raises:
        UserError: if another process writes to it; if it holds a run and ``resume`` is not asked for; if it holds
            none and it is; or if it cannot be written.
    """
    folder = RunFolder(path)
    if resume and not folder.state.exists():
        raise UserError(f"{path} holds no run to resume", hint="Leave out --resume to start one there.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot write to the run folder {path}: {error.strerror}") from error
    with lock:  # closing the file gives the lock back, as does the end of the process, however it comes
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is training in {path}", hint="Wait for it, or name another folder.") from error
        if not resume and (found := [file.name for file in (folder.state, folder.metrics, folder.last) if file.exists()]):
            raise UserError(f"{path} already holds a run ({found[0]})", hint="Resume it (--resume), or name another folder.")
        yield folder
