from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.ops import tensor_shapes
from tests.passes.families.renamed import NAMINGS, lively

SMALL = ResNetSpec("resnet(1-2 basic)", (1, 2), (4, 8), (4, 8), (1, 2), Stem(4), classes=3)
STATE = lively(SMALL).state_dict()
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
CIFAR100 = ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276))

REAL = [
    ("resnet20-12fca82f.th", "akamaster CIFAR ResNet", "resnet20", "module.linear.weight", 0),
    ("resnet32-d509ac18.th", "akamaster CIFAR ResNet", "resnet32", "module.linear.weight", 0),
    ("resnet8_cifar10.pth", "karanchahal/distiller", "resnet8", "module.linear.weight", 10),
    ("resnet8_cifar100.pth", "karanchahal/distiller", "resnet8", "module.linear.weight", 10),
]


@pytest.mark.parametrize(("name", "family", "arch", "head", "counters"), REAL)
def test_a_real_teacher_is_recognised_whole(
    teachers_dir: Path, name: str, family: str, arch: str, head: str, counters: int
) -> None:
    teacher = load_teacher(teachers_dir / name)
    assert (teacher.family, teacher.arch, teacher.form) == (family, arch, "state dict")
    assert teacher.keys["fc.weight"] == head
    assert teacher.tensors.keys() == teacher.keys.keys() == tensor_shapes(teacher.graph).keys()
    assert len(teacher.unread) == counters
    assert teacher.input_shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "normalisation", "published", "file"),
    [
        ("resnet20-12fca82f.th", IMAGENET, 0.9173, "cifar-10-batches-bin"),
        ("resnet32-d509ac18.th", IMAGENET, 0.9263, "cifar-10-batches-bin"),
        ("resnet8_cifar10.pth", CIFAR10, 0.8959, "cifar-10-batches-bin"),
        ("resnet8_cifar100.pth", CIFAR100, 0.6411, "cifar-100-binary"),
    ],
)
def test_a_real_teacher_classifies_as_published(
    request: pytest.FixtureRequest,
    teachers_dir: Path,
    name: str,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
    published: float,
    file: str,
) -> None:
    images, labels = first_test_images(request, file, 400)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in normalisation)
    teacher = load_teacher(teachers_dir / name)
    network = build(teacher.graph, teacher.tensors).eval()
    with torch.no_grad():
        found = network((images - mean) / std).argmax(1)
    # Over all 10,000 images it is what was published; one ReLU or window elsewhere costs 10 points and more.
    assert (found == labels).float().mean().item() > published - 0.05


def first_test_images(request: pytest.FixtureRequest, file: str, count: int) -> tuple[Tensor, Tensor]:
    if file == "cifar-100-binary":
        path, labels = request.getfixturevalue("cifar100_dir") / "test.bin", 2
    else:
        path, labels = request.getfixturevalue("cifar10_dir") / "test_batch.bin", 1
    rows = np.fromfile(path, np.uint8, count * (labels + 3072)).reshape(count, -1)
    images = torch.from_numpy(rows[:, labels:].reshape(count, 3, 32, 32)).float() / 255
    return images, torch.from_numpy(rows[:, labels - 1].astype(np.int64))


WRITE: dict[str, Callable[[dict[str, Tensor], Path], Any]] = {
    "archive": lambda state, path: torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, path),
    "legacy": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda state, path: save_file(state, path),
}


@pytest.mark.parametrize("form", WRITE)
@pytest.mark.parametrize("family", NAMINGS)
def test_each_naming_in_each_form_gives_the_same_network(family: str, form: str, tmp_path: Path) -> None:
    network = lively(SMALL)
    WRITE[form]({NAMINGS[family](name): tensor for name, tensor in network.state_dict().items()}, tmp_path / "teacher")
    teacher = load_teacher(tmp_path / "teacher")
    assert (teacher.family, teacher.arch) == (family, SMALL.name)
    assert [replace(node, source="") for node in teacher.graph] == [
        replace(node, source="") for node in trace_known(network, SMALL.input_shape).graph
    ]
    prefix = "module." if form == "archive" else ""
    written = {prefix + NAMINGS[family](name) for name in network.state_dict()}
    assert teacher.keys["layer2.1.bn2.running_var"] == prefix + NAMINGS[family]("layer2.1.bn2.running_var")
    assert {*teacher.keys.values(), *teacher.unread} == written
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(build(teacher.graph, teacher.tensors).eval()(images), network(images))


def test_half_precision_is_converted_and_it_is_said(tmp_path: Path) -> None:
    torch.save(
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}, tmp_path / "a"
    )
    teacher = load_teacher(tmp_path / "a")
    assert {tensor.dtype for tensor in teacher.tensors.values()} == {torch.float32}
    assert teacher.assumptions[0] == "Weights stored as float16 were converted to float32."
    torch.save(STATE, tmp_path / "b")
    assert not any("float32" in sentence for sentence in load_teacher(tmp_path / "b").assumptions)


def test_the_input_size_can_be_told(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a")
    assert load_teacher(tmp_path / "a").input_shape == (3, 32, 32)
    teacher = load_teacher(tmp_path / "a", input_size=64)
    assert teacher.input_shape == (3, 64, 64)
    assert not any("images" in sentence for sentence in teacher.assumptions)
    with pytest.raises(UserError, match="input_size must be an integer of at least 1, not 0"):
        load_teacher(tmp_path / "a", input_size=0)


def test_the_architecture_can_be_demanded(tmp_path: Path) -> None:
    spec = ResNetSpec("resnet8", (1, 1, 1), (16, 32, 64), (16, 32, 64), (1, 2, 2), Stem(16), classes=3)
    torch.save(lively(spec).state_dict(), tmp_path / "a")
    assert load_teacher(tmp_path / "a", arch="resnet8").arch == "resnet8"
    with pytest.raises(UserError, match="its tensors are those of resnet8, not of resnet18"):
        load_teacher(tmp_path / "a", arch="resnet18")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": torch.full((3, 8), float("nan"))}, "tensor 'fc.weight' holds 24 values that are NaN"),
        ({"bn1.running_var": -torch.ones(4)}, "'bn1.running_var' holds a negative variance"),
        ({"fc.weight": torch.zeros(3, 9)}, "classifier reads 9 features"),
        ({"layer2.0.conv2.weight": torch.zeros(8, 7, 3, 3)}, "'layer2.0.conv2.weight' must have shape"),
    ],
)
def test_an_unsound_tensor_is_named_with_the_file(change: dict[str, Tensor], message: str, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pth"
    torch.save({**STATE, **change}, path)
    with pytest.raises(UserError, match=message) as told:
        load_teacher(path)
    assert str(told.value).startswith(f"{path}: ")


def test_an_unsound_tensor_outside_the_network_does_no_harm(tmp_path: Path) -> None:
    torch.save({**STATE, "aux.weight": torch.full((2,), float("nan"))}, tmp_path / "a")
    assert "aux.weight" in load_teacher(tmp_path / "a").unread
