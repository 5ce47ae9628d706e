from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from idsnn_convert.runtime import bounds
from idsnn_convert.runtime.bounds import check_header, parsed_json


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, "x", null]}', b'{"a": [1, 2.5, "x", null]}'])
def test_what_a_text_says_is_read(text: str | bytes) -> None:
    assert parsed_json(text) == {"a": [1, 2.5, "x", None]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        (b"[NaN]", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("{", "property name"),
        (b"\xff\xff\xff", "utf-8"),
        ("1" * 5000, "4300 digits"),
    ],
)
def test_what_is_no_json_is_refused(text: str | bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parsed_json(text)


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_VALUES", 10)
    for text in (json.dumps([[]] * 6), json.dumps([[]] * 6).encode()):
        with pytest.raises(ValueError, match="it has 12 values; at most 10"):
            parsed_json(text)


def test_a_text_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LARGEST_JSON", 10)
    with pytest.raises(ValueError, match="it is 12 characters long; at most 10"):
        parsed_json('"' + "x" * 10 + '"')


def test_a_header_that_lies_about_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_file({f"t{k}": torch.ones(1) for k in range(20)}, path, {"notes": json.dumps({"data_offsets": 1})})
    check_header(path)
    whole = path.read_bytes()
    monkeypatch.setattr(bounds, "MOST_TENSORS", 19)
    with pytest.raises(ValueError, match="its header lists 20 tensors; at most 19"):
        check_header(path)
    monkeypatch.setattr(bounds, "LARGEST_HEADER", 100)
    with pytest.raises(ValueError, match=r"its header is [\d,]+ bytes long; at most 100"):
        check_header(path)
    for length in (len(whole) - 7, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length) + whole[8:])
        with pytest.raises(ValueError, match=r"its header is to be [\d,]+ bytes long, more than the file has"):
            check_header(path)
