from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.runtime.data.unpack import unpack
from idsnn_convert.runtime.errors import UserError

GOOD = {"set/train.bin": b"train", "set/more/test.bin": b"test"}


def packed(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.mkdir("set")
            for name, content in files.items():
                zipped.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_files_come_out_where_they_belong(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    unpack(packed(tmp_path / name, GOOD), tmp_path / "out", 9)
    assert left(tmp_path / "out") == ["set", "set/more", "set/more/test.bin", "set/train.bin"]
    assert (tmp_path / "out" / "set" / "train.bin").read_bytes() == b"train"


def test_what_a_process_that_died_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "out" / ".unpacking-abc" / "set").mkdir(parents=True)
    unpack(packed(tmp_path / "a.zip", GOOD), tmp_path / "out", 9)
    assert left(tmp_path / "out") == ["set", "set/more", "set/more/test.bin", "set/train.bin"]


def test_files_are_on_disk_before_they_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = []
    monkeypatch.setattr(os, "sync", lambda: named.append((tmp_path / "set").exists()))
    monkeypatch.setattr(os, "fsync", lambda handle: named.append((tmp_path / "set").exists()))
    unpack(packed(tmp_path / "a.zip", GOOD), tmp_path, 9)
    assert named == [False, True]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
@pytest.mark.parametrize("bad", ["../evil", "/evil", "set/../../evil", "..\\evil"])
def test_a_place_outside_is_refused_and_nothing_is_left(tmp_path: Path, name: str, bad: str) -> None:
    (tmp_path / "out").mkdir()
    archive = packed(tmp_path / name, {**GOOD, bad: b"x"})
    with pytest.raises(UserError, match="a place outside its folder; nothing was unpacked"):
        unpack(archive, tmp_path / "out", 100)
    assert left(tmp_path) == [name, "out"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("set/train.bin")
        member.type, member.linkname = kind, "../../elsewhere"
        tar.addfile(member)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"'set/train\.bin', which is no plain file"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out", 100)
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_more_than_expected_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="more than the 8 bytes it should"):
        unpack(packed(tmp_path / name, GOOD), tmp_path / "out", 8)
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    whole = packed(tmp_path / name, {"set/train.bin": bytes(range(256)) * 50}).read_bytes()
    for raw in (whole[: len(whole) // 2], b"", b"text", whole[:100] + b"xxxxxxxx" + whole[108:]):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(UserError, match=r"is damaged|cannot unpack"):
            unpack(tmp_path / name, tmp_path / "out", 100_000)
        assert left(tmp_path / "out") == []


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out" / "set").mkdir(parents=True)
    (tmp_path / "out" / "set" / "mine").write_text("mine")
    with pytest.raises(UserError, match="cannot unpack"):
        unpack(packed(tmp_path / "a.zip", GOOD), tmp_path / "out", 100)
    assert left(tmp_path / "out") == ["set", "set/mine"]


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "out").mkdir()
    archive = packed(tmp_path / "a.zip", GOOD)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"not enough space in .*out: .* 100 are needed"):
        unpack(archive, tmp_path / "out", 100)
    assert left(tmp_path / "out") == []
