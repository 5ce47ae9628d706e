from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from idsnn_convert import learn
from idsnn_convert.api import convert
from idsnn_convert.learn import decide_normalisation, evaluate_file, remembered, train_file
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.normalisation import KNOWN
from tests.idsnn_convert import files


def test_who_decides_the_normalisation(tmp_path: Path) -> None:
    """The user, else the checkpoint, else what the first batch norm remembers, else habit."""
    dataset = open_dataset(files.data(tmp_path / "data"))
    teacher = load_teacher(files.teacher(tmp_path / "net.pth"))
    _, student = convert(tmp_path / "net.pth", "resnet8", tmp_path / "s")
    assert decide_normalisation(teacher, dataset, "half").normalisation == KNOWN["half"]
    known = student.with_tensors(student.tensors, normalisation=KNOWN["none"].to_json())
    assert decide_normalisation(known, dataset, None).normalisation == KNOWN["none"]
    habit = decide_normalisation(student, dataset, None)
    assert habit.normalisation == KNOWN["fashion-mnist"]
    assert "usual" in habit.reason
    doubtful = decide_normalisation(teacher, dataset, None)
    assert "not beyond doubt" in doubtful.reason


def test_a_teacher_without_batch_norm_memory_gets_the_usual_one(tmp_path: Path) -> None:
    dataset = open_dataset(files.data(tmp_path / "data"))
    teacher = load_teacher(files.teacher(tmp_path / "net.pth"))
    bare = replace(
        teacher, graph=teacher.graph.with_nodes({"bn1": replace(teacher.graph["bn1"], op="dropout", attrs={"p": 0.1})})
    )
    assert "cannot tell" in decide_normalisation(bare, dataset, None).reason


def test_the_test_images_do_where_the_training_images_are_missing(tmp_path: Path) -> None:
    spec = files.data(tmp_path / "data")
    assert len(remembered(open_dataset(spec))) == 40
    for path in (tmp_path / "data").glob("train-*"):
        path.unlink()
    assert len(remembered(open_dataset(spec))) == 20
    found, _ = evaluate_file(files.teacher(tmp_path / "net.pth"), spec)
    assert found.images == 20


def test_compiled_and_plain_evaluation_agree(tmp_path: Path) -> None:
    if not can_compile(torch.device("cpu")):
        pytest.skip("no C++ compiler here")
    spec = files.data(tmp_path / "data")
    place, _ = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    said: list[str] = []
    plain, _ = evaluate_file(place, spec, told=said.append)
    fused, _ = evaluate_file(place, spec, compiled=True, told=said.append)
    assert fused.loss == pytest.approx(plain.loss, rel=1e-4)
    assert [line for line in said if line.startswith("kernels")] == [
        "kernels: plain PyTorch",
        "kernels: batch norm, residual and neuron fused and compiled",
    ]


def test_without_a_compiler_compiled_kernels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "can_compile", lambda device: False)
    place, _ = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    with pytest.raises(UserError, match="need a C\\+\\+ compiler"):
        evaluate_file(place, files.data(tmp_path / "data"), compiled=True)


def test_training_starts_from_the_checkpoint_or_afresh(tmp_path: Path) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    place, student = convert(teacher, "resnet8", tmp_path / "s", settings=Settings(time_steps=2))
    short = ["run.epochs=1", "run.batch_size=20", "optimizer.lr=1e-9"]
    for recipe, same in (("init-only", True), ("baseline", False)):
        run = train_file(place, spec, tmp_path / recipe, recipe=recipe, overrides=short, compiled=False)
        after = read(run.result.last).tensors["layer1.0.conv1.weight"]
        assert torch.allclose(after, student.tensors["layer1.0.conv1.weight"], atol=1e-6) == same


def test_the_teachers_normalisation_is_recorded_in_the_student(tmp_path: Path) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    place, _ = convert(teacher, "resnet8", tmp_path / "s")
    short = ["run.epochs=1", "run.batch_size=20"]
    run = train_file(place, spec, tmp_path / "run", teacher=teacher, overrides=short, normalisation="half", compiled=False)
    assert read(run.result.last).normalisation == KNOWN["half"].to_json()
    assert read(run.result.last).training["recipe"]["run"]["epochs"] == 1
