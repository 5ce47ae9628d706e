from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime.errors import UserError
from tests.passes.families.renamed import lively
from tests.passes.made import spec


def test_the_file_is_named_and_its_hash_told(tmp_path: Path) -> None:
    path = tmp_path / "teacher.onnx"  # the name says nothing
    torch.save(lively(spec((1, 1))).state_dict(), path)
    teacher = load_teacher(str(path))
    assert (teacher.path, teacher.sha256) == (str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_an_architecture_that_there_is_not_is_told_before_the_file_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown architecture 'resnet-18'\nDid you mean resnet18"):
        load_teacher(tmp_path / "missing", arch="resnet-18")


def test_a_form_without_a_loader_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="is a git-lfs pointer, not the file it stands for"):
        load_teacher(str(tmp_path / "a.pth"))
