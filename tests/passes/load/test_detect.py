from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from idsnn_convert.passes.load.detect import detect, refusal
from idsnn_convert.passes.load.forms import FORMS
from idsnn_convert.runtime.errors import UserError


def write_script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript; its files remain
        torch.jit.script(nn.Linear(2, 2)).save(str(path))


def write_program(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/archive_format", "pt2")
        archive.writestr("x/models/model.json", "{}")


def write_package(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/.data/extern_modules", "")
        archive.writestr("x/model/model.pkl", b"")


def write_cut_archive(path: Path) -> None:
    torch.save({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:300])


def onnx_bytes(version: int, next_field: bytes) -> bytes:
    return b"\x08" + bytes([version]) + next_field + b"\x07pytorch"


WRITERS: dict[str, list[Callable[[Path], object]]] = {
    "torch archive": [lambda path: torch.save({"a": torch.zeros(2)}, path)],
    "legacy torch": [lambda path: torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)],
    "safetensors": [lambda path: save_file({"a": torch.zeros(2)}, path)],
    "TorchScript": [write_script],
    "exported program": [write_program],
    "torch package": [write_package],
    "ONNX": [
        lambda path: path.write_bytes(onnx_bytes(9, b"\x12")),
        lambda path: path.write_bytes(onnx_bytes(9, b"\x32")),
        lambda path: path.write_bytes(onnx_bytes(4, b"\x3a")),
    ],
    "zip": [lambda path: np.savez(path.open("wb"), x=np.ones(2)), lambda path: zipfile.ZipFile(path, "w").close()],
    "cut zip": [write_cut_archive],
    "pickle": [
        lambda path: path.write_bytes(pickle.dumps({"a": 1}, 2)),
        lambda path: path.write_bytes(pickle.dumps({"a": 1}, 5)),
    ],
    "tar": [lambda path: path.write_bytes(b"sys_info".ljust(257, b"\0") + b"ustar\x0000")],
    "HDF5": [lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n\0\0")],
    "NumPy": [lambda path: np.save(path.open("wb"), np.ones(2))],
    "gzip": [lambda path: path.write_bytes(b"\x1f\x8b\x08\0\0")],
    "image": [lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), lambda path: path.write_bytes(b"\xff\xd8\xff\xe0")],
    "LFS pointer": [lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")],
    "web page": [lambda path: path.write_bytes(b"\n <!DOCTYPE html>\n<html>"), lambda path: path.write_bytes(b"<HTML><head>")],
    "text": [lambda path: path.write_bytes("layer, é\n".encode() * 200), lambda path: path.write_bytes(b"{}")],
    "empty": [lambda path: path.write_bytes(b"")],
    "unknown": [lambda path: path.write_bytes(b"\x00\x01\x02\xff" * 9), lambda path: path.write_bytes(b"GGUF\x03\0\0\0")],
}
CASES = [(form, number) for form, writers in WRITERS.items() for number in range(len(writers))]


@pytest.mark.parametrize(("form", "number"), CASES)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_is_known_by_its_content(form: str, number: int, tmp_path: Path) -> None:
    path = tmp_path / "resnet18.onnx.safetensors.pth"  # the name says nothing
    WRITERS[form][number](path)
    assert detect(path) == form


def test_every_form_is_tried() -> None:
    assert WRITERS.keys() == FORMS.keys()


def test_a_long_file_in_an_unfinished_letter_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 511 + "é".encode() + b"x" * 100)
    assert detect(path) == "text"


def test_a_refusal_says_what_the_file_is_and_the_way_out() -> None:
    told = str(refusal(Path("a/b.pt"), "TorchScript"))
    assert told.startswith("a/b.pt is a TorchScript archive\n")
    assert "torch.jit.load('a/b.pt').state_dict()" in told


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        detect(tmp_path / "missing.pt")
    with pytest.raises(UserError, match="is a folder\nIt is empty"):
        detect(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"Name a file in it: model\.pt"):
        detect(tmp_path)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "loop"
    path.symlink_to(path)
    with pytest.raises(UserError, match="cannot be read"):
        detect(path)
