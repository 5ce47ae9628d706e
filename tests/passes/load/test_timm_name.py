from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from tests.passes.replicas import lively


class Net(nn.Module):
    """A model as timm makes them: it carries the settings it was trained with."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.default_cfg = {"input_size": (3, 12, 12), "classifier": "fc"}
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(torch.relu(self.bn1(self.conv1(x))).mean((2, 3)))


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timm with one model, which builds nothing pretrained."""

    def create_model(name: str, *, pretrained: bool, **settings: Any) -> nn.Module:
        assert (name, pretrained) == ("tinynet", False)
        return Net(**settings)

    known = {"is_model": lambda name: name == "tinynet", "list_models": lambda pattern: ["tinynet"] if "tin" in pattern else []}
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model, **known))


def trained() -> nn.Module:
    torch.manual_seed(0)
    return lively(Net(5))


def weights(path: Path, **more: torch.Tensor) -> Path:
    save_file({**trained().state_dict(), **more}, path)
    return path


@pytest.mark.usefixtures("zoo")
def test_a_model_with_weights_is_a_teacher(tmp_path: Path) -> None:
    path, images = weights(tmp_path / "a.safetensors"), torch.randn(2, 3, 12, 12)
    teacher = load_teacher(f"timm:tinynet@{path}")
    assert (teacher.form, teacher.family, teacher.path, teacher.classes) == ("timm", "timm tinynet", str(path), 5)
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert teacher.assumptions == ("The images are 12x12, as timm says of tinynet.",)
    with torch.no_grad():
        torch.testing.assert_close(build(teacher.graph, teacher.tensors).eval()(images), trained()(images))
    torch.save({"state_dict": trained().state_dict()}, tmp_path / "b.pth")
    again = load_teacher(Path(f"timm:tinynet@{tmp_path / 'b.pth'}"), input_size=9)
    assert (again.input_shape, again.assumptions) == ((3, 9, 9), ())
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in teacher.tensors.items())


def test_random_weights_are_no_teacher() -> None:
    with pytest.raises(
        UserError, match=r"timm:resnet18 names no weights.*\nName their file: timm:resnet18@weights\.safetensors"
    ):
        load_teacher("timm:resnet18")


@pytest.mark.usefixtures("zoo")
def test_an_unknown_model_is_told_with_those_like_it(tmp_path: Path) -> None:
    path = weights(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="timm knows no model 'tiny'\nDid you mean one of tinynet"):
        load_teacher(f"timm:tiny@{path}")


@pytest.mark.usefixtures("zoo")
def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = weights(tmp_path / "a.safetensors", extra=torch.ones(1))
    with pytest.raises(UserError, match=r"the weights are not those of timm's tinynet: Unexpected key.*extra"):
        load_teacher(f"timm:tinynet@{path}")
    (tmp_path / "b").write_text("weights")
    with pytest.raises(UserError, match="is a text file"):
        load_teacher(f"timm:tinynet@{tmp_path / 'b'}")
    torch.save([1], tmp_path / "c")
    with pytest.raises(UserError, match="c: it holds a list, not a dict of tensors"):
        load_teacher(f"timm:tinynet@{tmp_path / 'c'}")


def test_a_missing_timm_is_told_with_the_way_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm:tinynet needs timm: .*\npip install timm"):
        load_teacher(f"timm:tinynet@{weights(tmp_path / 'a')}")
