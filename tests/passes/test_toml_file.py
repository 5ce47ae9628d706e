from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.passes.toml_file import LARGEST, read_toml
from idsnn_convert.runtime.errors import UserError


def test_what_a_file_says_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("depths = [1, 2]\n[stem]\nwidth = 8  # \u00fc\n", encoding="utf-8")
    assert read_toml(tmp_path / "a.toml") == {"depths": [1, 2], "stem": {"width": 8}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"depths = [1,\nwidths = 2", "no valid TOML.*line 2"),
        (b"\xff\xfe", "no valid TOML"),
        (b"a = " + b"[" * 5000, "no valid TOML"),
        (b"#" * (LARGEST + 1), "larger than 1,048,576 bytes"),
    ],
    ids=["syntax", "bytes", "depth", "size"],
)
def test_what_is_no_description_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(UserError, match=f"a.toml.*{told}"):
        read_toml(tmp_path / "a.toml")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.toml cannot be read: No such file"):
        read_toml(tmp_path / "no.toml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)
