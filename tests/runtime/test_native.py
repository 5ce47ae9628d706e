from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from idsnn_convert.runtime import native
from idsnn_convert.runtime.native import NativeError, compiler

library = native.build_library.__wrapped__  # each call anew
pytestmark = pytest.mark.skipif(compiler() is None or sys.platform == "win32", reason="no C++ compiler here")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where libraries are kept now."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "idsnn-convert" / "native"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "answer.cpp"
    path.write_text('#ifndef ANSWER\n#define ANSWER 42\n#endif\nextern "C" int answer() { return ANSWER; }\n')
    return path


def test_a_library_is_made_once_and_kept(kept: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library(source).answer() == 42
    (made,) = kept.iterdir()
    assert (made.stem.startswith("answer-"), made.suffix) == (True, ".so")
    assert stat.S_IMODE(kept.stat().st_mode) & 0o022 == 0
    monkeypatch.setattr(native, "_make", lambda command, to: pytest.fail("made again"))
    assert library(source).answer() == 42


def test_flags_source_compiler_and_processor_have_libraries_of_their_own(
    kept: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert library(source, "-DANSWER=7").answer() == 7
    assert library(source).answer() == 42
    source.write_text('extern "C" int answer() { return 43; }\n')
    assert library(source).answer() == 43
    monkeypatch.setattr(native, "_processor", lambda: "another")
    assert library(source).answer() == 43
    assert len(list(kept.iterdir())) == 4


def test_without_a_compiler_there_is_none(kept: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NativeError, match="no C\\+\\+ compiler"):
        library(source)


def test_what_the_compiler_says_is_told_and_nothing_is_left(kept: Path, source: Path) -> None:
    source.write_text("int answer( {\n")
    with pytest.raises(NativeError, match=r"failed: .*answer\.cpp:1.*error"):
        library(source)
    assert not list(kept.iterdir())


def test_a_slow_compiler_is_stopped(kept: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("CXX", str(slow))
    monkeypatch.setattr(native, "SECONDS", 0.2)
    with pytest.raises(NativeError, match=r"more than 0\.2 seconds"):
        library(source)


def test_a_folder_that_others_can_write_to_is_not_trusted(kept: Path, source: Path) -> None:
    kept.mkdir(parents=True)
    kept.chmod(0o777)
    with pytest.raises(NativeError, match="written by others"):
        library(source)


def test_a_folder_that_cannot_be_made_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(NativeError, match=r"could not be made of answer\.cpp"):
        library(source)


def test_without_a_home_that_is_told(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(NativeError, match="no home directory to keep a library in: set XDG_CACHE_HOME"):
        library(source)


def test_a_library_that_was_cut_off_is_told(kept: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_make", lambda command, to: to.write_bytes(b"\x7fELF"))
    with pytest.raises(NativeError, match=r"could not be made of answer\.cpp: .*answer-.*too short"):
        library(source)
