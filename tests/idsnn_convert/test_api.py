from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.api import convert, converted, open_file, teacher_from_module, weights_file
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import Checkpoint, read
from idsnn_convert.runtime.errors import UserError
from tests.idsnn_convert import files


def test_convert_gives_the_path_and_what_it_wrote(tmp_path: Path) -> None:
    place, checkpoint = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s", settings=Settings(time_steps=2))
    assert place == tmp_path / "s"
    assert read(place).metadata() == checkpoint.metadata()
    assert checkpoint.time_steps == 2
    assert checkpoint.provenance["converter"] == "idsnn-convert"


def test_converted_writes_nothing(tmp_path: Path) -> None:
    teacher = load_teacher(files.teacher(tmp_path / "net.pth"))
    assert converted(teacher, "resnet8", Settings()).neurons
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_files_are_told_apart_by_content(tmp_path: Path) -> None:
    convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s.pth")
    assert isinstance(open_file(tmp_path / "s.pth"), Checkpoint)
    assert isinstance(open_file(tmp_path / "net.pth"), Teacher)


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    teacher = files.teacher(tmp_path / "net.pth")
    with pytest.raises(UserError):
        convert(teacher, "resnet8", tmp_path / "s", settings=Settings(match="best"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_padding_follows_the_teachers_shortcuts(tmp_path: Path) -> None:
    projected = load_teacher(files.teacher(tmp_path / "net.pth"))
    settings = converted(projected, "resnet8", Settings()).mapping["settings"]
    assert settings["downsample"] == "projection"
    assert converted(projected, "resnet8", Settings(), downsample="pad").mapping["settings"]["downsample"] == "pad"


def test_data_tells_what_the_file_does_not(tmp_path: Path) -> None:
    path, data = files.teacher(tmp_path / "net.pth"), files.data(tmp_path / "data")
    _, checkpoint = convert(path, "resnet8", tmp_path / "s", data=data)
    assert read(tmp_path / "s").teacher["evidence"] == checkpoint.teacher["evidence"]
    assert checkpoint.teacher["evidence"]["images"] == 40
    assert checkpoint.provenance["command"].endswith(" --data fashion-mnist:data")
    with pytest.raises(UserError, match="nowhere"):
        convert(path, "resnet8", tmp_path / "other", data="fashion-mnist:nowhere")
    assert not (tmp_path / "other").exists()


def test_a_network_in_memory_converts(tmp_path: Path) -> None:
    teacher = teacher_from_module(ResNet(files.SPEC), input_shape=(1, 28, 28))
    assert len(converted(teacher, "resnet8", Settings()).neurons) == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("teacher", "file"),
    [("a/net.pth", "a/net.pth"), ("a/me@home.pth", "a/me@home.pth"), ("timm:resnet18@a/net.pth", "a/net.pth")],
)
def test_the_file_of_a_teachers_weights(teacher: str, file: str) -> None:
    assert weights_file(teacher) == weights_file(Path(teacher)) == Path(file)


def test_a_timm_models_weights_are_not_overwritten(tmp_path: Path) -> None:
    weights = files.teacher(tmp_path / "net.pth")
    with pytest.raises(UserError, match="is the teacher itself"):
        convert(f"timm:resnet18@{weights}", "resnet8", weights, force=True)


def test_a_notebook_shows_what_became_of_each_block(tmp_path: Path) -> None:
    found = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    assert found.path == tmp_path / "s"
    assert "<td>stage2.block0</td>" in found._repr_html_()
