"""Tensors and facts under a seal: there and back, and that damage shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.sealed_file import read_sealed, sealed_names, write_sealed

TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(4, dtype=torch.bfloat16)}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_sealed(tmp_path / "file", "key", TENSORS, {"epoch": 3})
    return tmp_path / "file"


def test_there_and_back(written: Path) -> None:
    tensors, facts = read_sealed(written, "key")
    assert facts == {"epoch": 3}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype for name, tensor in TENSORS.items())
    assert sorted(sealed_names(written)) == ["a", "b"]


def test_damage_is_told_with_the_way_out(written: Path) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"file cannot be read: it is damaged \(SHA-256\)\nMake it anew\.$"):
        read_sealed(written, "key", "Make it anew.")
    written.write_bytes(whole[:-1])
    for read in (lambda: read_sealed(written, "key"), lambda: sealed_names(written)):
        with pytest.raises(UserError, match="file cannot be read: "):
            read()


def test_another_kind_of_file_is_told(written: Path) -> None:
    with pytest.raises(UserError, match="file cannot be read: 'other'"):
        read_sealed(written, "other")
    with pytest.raises(UserError, match="absent cannot be read: "):
        sealed_names(written.with_name("absent"))
