from __future__ import annotations

from pathlib import Path

import pytest
import torch

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.targets import plain_target
from idsnn_convert.runtime.ann_file import AnnFile, save_ann
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.normalisation import KNOWN
from tests.graphs import random_tensors

TARGET = plain_target("resnet8", input_shape=(3, 20, 20), classes=7, width=0.25)
TENSORS = random_tensors(TARGET.graph)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    save_ann(tmp_path / "net.safetensors", AnnFile("resnet8", TARGET.graph, TENSORS, KNOWN["half"].to_json()))
    return tmp_path / "net.safetensors"


def test_the_file_says_everything(written: Path) -> None:
    """A state dict of these tensors would be taken for images of 32x32, and its normalisation would have to be guessed."""
    teacher = load_teacher(written)
    assert teacher.graph == TARGET.graph
    assert (teacher.arch, teacher.input_shape, teacher.classes) == ("resnet8", (3, 20, 20), 7)
    assert teacher.normalisation == KNOWN["half"].to_json()
    assert teacher.assumptions == ()
    assert all(torch.equal(teacher.tensors[name], TENSORS[name]) for name in TENSORS)


def test_what_its_owner_says_must_be_so(written: Path) -> None:
    assert load_teacher(written, arch="resnet8", input_size=20).arch == "resnet8"
    with pytest.raises(UserError, match="holds resnet8, not resnet20"):
        load_teacher(written, arch="resnet20")
    with pytest.raises(UserError, match="images of 20x20, not 32"):
        load_teacher(written, input_size=32)


def test_a_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    broken = {**TENSORS, "fc.bias": torch.full((7,), float("nan"))}
    save_ann(tmp_path / "net", AnnFile("resnet8", TARGET.graph, broken))
    with pytest.raises(UserError, match=r"fc\.bias"):
        load_teacher(tmp_path / "net")
