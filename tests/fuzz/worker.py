"""A process that reads one mutated input after another, watched: what it says, what it touches, what memory it takes.

It is started by :mod:`tests.fuzz.campaign`, is told each input in a line of JSON on stdin and answers with one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.cli import main, printable
from idsnn_convert.runtime.data.unpack import unpack
from idsnn_convert.runtime.errors import UserError

ADDRESS_SPACE = 4 << 30
"""Bytes that an input may ask for beyond what the process has; the machine is to outlive the campaign."""

FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "os.kill", "os.link", "os.symlink",
    "pty.spawn", "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request",
    "ftplib.connect", "webbrowser.open", "ctypes.dlopen", "code.__new__",
)  # fmt: skip
"""Events of Python's audit hooks that no input may cause."""

WRITES = ("shutil.rmtree", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "open")
"""Events that are allowed within the input's own folder."""


class Watch:
    """Python's audit hook: while it is on, what is forbidden is kept in ``seen``."""

    def __init__(self) -> None:
        self.on, self.folder, self.seen = False, "", list[str]()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN or (event in WRITES and self._outside(event, arguments)):
            self.seen.append(f"{event}{arguments!r:.200}")

    def _outside(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            mode, flags = arguments[1], arguments[2]
            writes = (
                any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
            )
            if not writes or str(arguments[0]) == os.devnull:
                return False
        place = arguments[0]
        if isinstance(place, int):
            return False
        self.on = False  # what follows asks the system itself
        inside = os.path.realpath(os.fsdecode(place)).startswith(self.folder)
        self.on = True
        return not inside


def _recipe(path: str) -> None:
    from idsnn_convert.runtime.recipe import load_recipe

    load_recipe(path).to_toml()


def _unpack(*paths: str) -> None:
    for path in paths:
        folder = Path(f"{path}.d")
        folder.mkdir()
        kind = Path(path)
        if kind.suffix == ".tar":  # the publisher's are packed
            import gzip

            kind = kind.with_suffix(".tar.gz")
            kind.write_bytes(gzip.compress(Path(path).read_bytes(), 1))
        unpack(kind, folder, 10_000)


def _logits(folder: str) -> None:
    from idsnn_convert.runtime.teacher_cache import RememberingTeacher, TeacherCache

    teacher = RememberingTeacher(torch.nn.Flatten(), TeacherCache(Path(), ""), folder)
    teacher.begin_epoch()
    teacher(torch.zeros(2, 1, 2, 2))


CALLS: dict[str, Callable[..., None]] = {"recipe": _recipe, "unpack": _unpack, "logits": _logits}
"""Readers that no command calls alone."""


def run(words: list[str]) -> int:
    """The exit code of ``idsnn`` with these words, as the console would see it."""
    try:
        if words[0] == "call":
            CALLS[words[1]](*words[2:])
            return 0
        main(words, prog_name="idsnn", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except UserError as error:
        print(f"Error: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def _within(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def one(watch: Watch, folder: str, words: list[str]) -> dict[str, Any]:
    """Reads one input: outcome, what it said, what it did that it must not, and the memory it took in bytes."""
    out, err = io.StringIO(), io.StringIO()
    before, failure = _reset_peak(), ""
    watch.folder, watch.seen = os.path.realpath(folder), []
    code: int | None = None
    with _within(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        watch.on = True
        try:
            code = run(words)
        except BaseException:
            failure = traceback.format_exc()
        finally:
            watch.on = False
    return {
        "code": code,
        "failure": failure,
        "stdout": out.getvalue()[-20_000:],
        "stderr": err.getvalue()[-20_000:],
        "seen": watch.seen,
        "memory": max(0, _status("VmHWM") - before),
    }


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def serve() -> None:
    """Answers the lines on stdin until it ends. The first ones are sound samples: what they import stays."""
    faulthandler.enable()  # a crash of C code, or the campaign's SIGABRT to one that hangs, is told on stderr
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what C code prints is no answer
    watch = Watch()
    for line in sys.stdin:
        asked = json.loads(line)
        size = _status("VmSize") + ADDRESS_SPACE if asked["limited"] else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
        answers.write(json.dumps(one(watch, asked["folder"], asked["words"])) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
