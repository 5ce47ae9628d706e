"""C++ of our own, made into a library for this very machine when it is first asked for; nothing is compiled at installation.

Libraries are kept in the user's cache folder under a name made of all they depend on, so that one folder may serve machines
with different processors.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

COMPILERS = ("g++", "clang++")
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC")
OWN_PROCESSOR = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
SECONDS = 120
"""More than these a compiler is not given."""


class NativeError(RuntimeError):
    """No library could be made; the message says why."""


def compiler() -> str | None:
    """The C++ compiler's path: that of the environment variable CXX, or one of :data:`COMPILERS`."""
    names = (os.environ.get("CXX"), *COMPILERS)
    return next((found for name in names if name and (found := shutil.which(name))), None)


@cache
def build_library(source: Path, *flags: str) -> ctypes.CDLL:
    """``source`` compiled with ``flags`` besides :data:`FLAGS`, from the cache if it was before; a second otherwise.

    Raises:
        NativeError: if there is no compiler, it does not take the source, or nothing can be written.
    """
    path = compiler()
    if path is None or sys.platform == "win32":
        raise NativeError("there is no C++ compiler (g++ or clang++)")
    command = [path, *FLAGS, OWN_PROCESSOR, *flags]
    age = Path(path).stat().st_mtime_ns
    included = b"".join(path.read_bytes() for path in sorted(source.parent.glob("*.h")))
    known = source.read_bytes(), included, " ".join(command), str(age), platform.machine(), _processor()
    try:
        made = _folder() / f"{source.stem}-{_digest(known)}.so"
        if not made.exists():
            _make([*command, str(source)], made)
        return ctypes.CDLL(str(made))
    except OSError as error:
        raise NativeError(f"a library could not be made of {source.name}: {error}") from error


def _make(command: list[str], to: Path) -> None:
    """All or nothing: several processes may make the same."""
    with tempfile.TemporaryDirectory(dir=to.parent) as room:
        unfinished = Path(room) / to.name
        try:
            done = subprocess.run(
                [*command, "-o", str(unfinished)], capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NativeError(f"{command[0]} took more than {SECONDS} seconds") from error
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
            raise NativeError(f"{command[0]} failed: {said}")
        unfinished.replace(to)


def _folder() -> Path:
    """Where libraries are kept: only their owner may put something there that is then run."""
    try:
        cache_home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError as error:
        raise NativeError("there is no home directory to keep a library in: set XDG_CACHE_HOME") from error
    folder = cache_home / "idsnn-convert" / "native"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = folder.stat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise NativeError(f"{folder} can be written by others than you; what lies there is not run")
    return folder


def _processor() -> str:
    """What the compiler's code for this very processor depends on, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    told = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(told)}))


def _digest(parts: tuple[str | bytes, ...]) -> str:
    found = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()[:32]
