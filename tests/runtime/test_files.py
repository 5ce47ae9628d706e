from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from idsnn_convert.runtime import files
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import replacing, replacing_folder, tidy, write_text

ROOT = Path(__file__).resolve().parents[2]


def test_the_new_file_takes_the_old_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as part:
            part.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left"), replacing(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_by_safetensors_in_words_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(UserError, match=r"cannot write .*a: .*No space left.*\n.*goes on from there with --resume") as caught,
        replacing(tmp_path / "a"),
    ):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert caught.value.hint
    assert (tmp_path / "a").read_text() == "old"


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*gone"):
        write_text(tmp_path / "gone" / "a.txt", "x")


def test_others_may_read_it_as_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_what_a_library_leaves_beside_the_file_goes_too(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.svg") as part:
        assert part.name == "a.svg"
        part.with_name(".tmp").write_text("scratch")
        part.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]


KILLED = """
import os, signal, sys
from pathlib import Path
from idsnn_convert.runtime.files import replacing
with replacing(Path(sys.argv[1])) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_writer_removes_what_a_killed_one_left_but_not_what_a_living_one_writes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.txt")], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".idsnn-")
    with replacing(tmp_path / "b.txt") as living:
        assert not left.exists()
        living.write_text("b")
        write_text(tmp_path / "c.txt", "c")
        tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.txt", "c.txt"]


def test_a_folder_that_somebody_keeps_to_himself_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.02)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.close(handle)
    assert (tmp_path / "a.txt").read_text() == "x"


def test_a_file_system_without_locks_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".idsnn-abc.part").mkdir()  # perhaps somebody's who is at it
    write_text(tmp_path / "a.txt", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".idsnn-abc.part", "a.txt"]


def failing(number: int, after: int = 0) -> Any:
    """An os.fsync that fails after so many calls."""
    calls = []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))

    return fsync


def test_a_disk_that_fails_to_keep_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: Input/output error"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("number", "told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_does_not_sync_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number, after=1))
    with pytest.raises(UserError) if told else nullcontext():
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    try:
        with pytest.raises(UserError, match="Permission denied"):
            write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_may_be_written_to_but_not_listed(tmp_path: Path) -> None:
    tmp_path.chmod(0o333)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o755)
    assert (tmp_path / "a.txt").read_text() == "x"


def test_it_is_on_disk_before_it_has_its_name_and_the_name_before_anyone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append((os.fstat(handle).st_ino, (tmp_path / "a.txt").exists())))
    write_text(tmp_path / "a.txt", "x")
    assert synced == [((tmp_path / "a.txt").stat().st_ino, False), (tmp_path.stat().st_ino, True)]


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_folder_takes_the_old_ones_place_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: bool) -> None:
    if not exchanged:
        monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    path, before = tmp_path / "a", os.umask(0o022)
    try:
        for content in ("old", "new"):
            with replacing_folder(path) as part:
                (part / content).write_text(content)
                assert not (path / content).exists()
            assert [file.name for file in path.iterdir()] == [content]
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path / "new")] == [0o755, 0o644]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(UserError, match="No space left"), replacing_folder(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    moved = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.parent.suffix == ".part" and target.parent == tmp_path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return moved(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    with pytest.raises(UserError, match="Input/output error"), replacing_folder(path):
        pass
    assert (path / "old").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_there_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not files._exchanged(tmp_path, tmp_path):
        pytest.skip("this file system cannot exchange two names")
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(files, "_put_in_place", lambda part, path: pytest.fail("it was moved aside"))
    with replacing_folder(tmp_path / "a") as part:
        (part / "new").write_text("new")
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["new"]
    assert not files._exchanged(tmp_path / "a", tmp_path / "absent")


def test_a_folder_in_a_missing_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*gone"), replacing_folder(tmp_path / "gone" / "a"):
        pass
