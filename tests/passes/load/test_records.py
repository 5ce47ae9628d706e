from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from idsnn_convert.passes.load import records
from idsnn_convert.passes.load.detect import detect
from idsnn_convert.passes.load.records import check_directory, opened, repacked
from idsnn_convert.runtime.errors import UserError


def written(path: Path, count: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"a/{number}", b"x")
    return path


@pytest.mark.parametrize("comment", [b"", b"with a comment"])
def test_an_archive_of_too_many_records_is_refused_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comment: bytes
) -> None:
    path = written(tmp_path / "a.pt", 20)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment
    check_directory(path)
    monkeypatch.setattr(records, "MOST_RECORDS", 19)
    for read in (check_directory, detect):
        with pytest.raises(UserError, match=r"its directory lists 20 records in [\d,]+ bytes; at most 19"):
            read(path)


def test_a_directory_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.pt", 20)
    monkeypatch.setattr(records, "LARGEST_DIRECTORY", 100)
    with pytest.raises(UserError, match="at most 100,000 in 100 are read"), opened(path):
        pass


def test_the_end_of_a_large_archive_is_the_one_that_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt", 2)
    whole = path.read_bytes()
    at = whole.rfind(b"PK\x05\x06")
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1 << 40, 1 << 40, 1 << 50, 0)
    path.write_bytes(whole[:at] + wide + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + whole[at:])
    with pytest.raises(UserError, match=r"its directory lists 1,099,511,627,776 records"):
        check_directory(path)


def test_an_archive_without_an_end_is_left_to_zipfile(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for content in (b"", b"PK\x03\x04", b"PK\x05\x06cut"):
        path.write_bytes(content)
        check_directory(path)
        with pytest.raises(UserError, match="cut short or damaged"), opened(path):
            pass


def test_what_is_repacked_can_be_read_in_one_way_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt", 3)
    path.write_bytes(b"another archive" + path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        made = repacked(archive)
    assert made.getvalue().startswith(b"PK\x03\x04")
    with zipfile.ZipFile(io.BytesIO(made.getvalue())) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [b"x"] * 3


def test_packed_bytes_that_do_not_unpack_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/code/x.py", b"x = 1\n" * 100)
    whole = path.read_bytes()
    path.write_bytes(whole[:41] + b"\xff\xff\xff\xff" + whole[45:])
    with pytest.raises(UserError, match="cut short or damaged"), opened(path) as archive:
        archive.read("a/code/x.py")
