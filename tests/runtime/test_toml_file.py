from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.toml_file import LARGEST, read_toml


def test_what_a_file_says_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("depths = [1, 2]\n[stem]\nwidth = 8  # \u00fc\n", encoding="utf-8")
    assert read_toml(tmp_path / "a.toml") == {"depths": [1, 2], "stem": {"width": 8}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"depths = [1,\nwidths = 2", "no valid TOML.*line 2"),
        (b"\xff\xfe", "no valid TOML"),
        (b"a = " + b"[" * 5000, "no valid TOML"),
        (b"#" * (LARGEST + 1), "larger than 262,144 bytes"),
        (b"x = 1\n" + b"a." * 100_000 + b"b = 1", r"no valid TOML: a key of more than 32 parts \(at line 2\)"),
        (b"[" + b"'a b' . " * 20_000 + b"b]", r"a key of more than 32 parts \(at line 1\)"),
    ],
    ids=["syntax", "bytes", "depth", "size", "dots", "dots in a header"],
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


def test_numbers_and_sentences_have_any_number_of_dots(tmp_path: Path) -> None:
    numbers, text = [k / 7 for k in range(500)], "One. Two. " * 50
    (tmp_path / "a.toml").write_text(f'x = {numbers}\ntext = "{text}"  # {text}\n')
    assert read_toml(tmp_path / "a.toml") == {"x": numbers, "text": text}
