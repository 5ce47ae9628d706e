from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from idsnn_convert import examine as examining
from idsnn_convert import identify
from idsnn_convert.api import converted
from idsnn_convert.examine import examine
from idsnn_convert.passes.builder import Refusal, RefusedError
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.resnet.spec import ResNetSpec
from idsnn_convert.passes.targets import target_spec
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from tests.idsnn_convert import files

SHAPE = {"input_shape": (1, 28, 28), "classes": 10}


def test_a_sound_teacher_has_no_problems(tmp_path: Path) -> None:
    found = examine(files.teacher(tmp_path / "net.pth"), target="resnet8")
    assert found.problems == ()
    assert found.cautions == ()
    assert found.teacher is not None
    assert found.checkpoint is not None
    assert found.identification is None


def test_a_file_that_is_no_teacher_is_a_problem_but_a_missing_one_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    assert len(examine(tmp_path / "notes.txt").problems) == 1
    with pytest.raises(UserError, match="no such file"):
        examine(tmp_path / "gone.pth")


def test_every_refused_call_is_a_problem_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        refusals = [Refusal("a.fft", "net.py:3", "no form", "leave it"), Refusal("b.fft", "", "no", "x")]
        try:
            raise RefusedError("two calls", "see", refusals)
        except UserError as error:  # a loader adds the file's name
            raise UserError("net.pth: two calls") from error

    monkeypatch.setattr(examining, "load_teacher", refuse)
    problems = examine(files.teacher(tmp_path / "net.pth")).problems
    assert [(p.node, p.source, p.reason, p.advice) for p in problems] == [
        ("a.fft", "net.py:3", "no form", "leave it"),
        ("b.fft", "", "no", "x"),
    ]


def test_a_mistake_in_the_question_is_no_problem_of_the_teacher(tmp_path: Path) -> None:
    teacher = files.teacher(tmp_path / "net.pth")
    for question in ({"target": "resnet9"}, {"arch": "resnet9"}, {"data": "fashion-mnist:nowhere"}):
        with pytest.raises(UserError, match=r"resnet9|nowhere"):
            examine(teacher, **question)


@pytest.mark.parametrize(("spec", "tried"), [(files.SPEC, "resnet18"), (target_spec("resnet8", **SHAPE), "resnet8")])
def test_without_a_target_its_own_structure_is_tried(tmp_path: Path, spec: ResNetSpec, tried: str) -> None:
    assert examine(files.teacher(tmp_path / "net.pth", spec)).target == tried


def test_a_network_that_is_no_chain_of_blocks_may_still_convert_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocks_are_refused(teacher: Teacher, target: str, settings: Settings) -> Checkpoint:
        if target != "same":
            raise UserError("another path goes around it")
        return converted(teacher, target, settings)

    monkeypatch.setattr(examining, "converted", blocks_are_refused)
    found = examine(files.teacher(tmp_path / "net.pth"))
    assert [problem.reason for problem in found.problems] == ["another path goes around it"]
    assert [caution.advice for caution in found.cautions] == ["Take --target same."]


def test_cautions_of_the_conversion_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.teacher(tmp_path / "net.pth")
    real = load_teacher(path)
    site = real.graph.of("activation")[3]
    changed = real.graph.with_nodes({site.name: replace(site, attrs={"kind": "silu"})})
    odd = replace(real, graph=changed, reference=None)
    monkeypatch.setattr(examining, "load_teacher", lambda *_, **__: odd)
    (caution,) = examine(path).cautions
    assert caution.node == site.name
    assert caution.reason.startswith("1 of 13 activations are silu")


def test_images_it_was_not_trained_on_are_told_by_the_first_batch_norm(tmp_path: Path) -> None:
    found = examine(files.teacher(tmp_path / "net.pth"), data=files.data(tmp_path / "data", train=100))
    assert found.identification is not None
    assert found.identification.verdict == "other"
    assert found.identification.first_wrong is not None
    assert found.identification.first_wrong.node == "bn1"  # random statistics
    assert found.cautions[0].node == "bn1"


def test_a_lost_relu_is_found_at_the_first_batch_norm_behind_it(
    teachers_dir: Path, cifar10_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = load_teacher(teachers_dir / "resnet8_cifar10.pth")
    site = real.graph["layer2.0.relu1"]
    linear = replace(site, attrs={"kind": "leaky_relu", "slope": 1.0})
    wrong = replace(real, graph=real.graph.with_nodes({site.name: linear}), spec=None)
    monkeypatch.setattr(examining, "load_teacher", lambda *_, **__: wrong)
    monkeypatch.setattr(identify, "IMAGES", 100)
    found = examine(teachers_dir / "resnet8_cifar10.pth", data=f"cifar10:{cifar10_dir}").identification
    assert found is not None
    assert found.verdict == "other"
    assert found.first_wrong is not None
    assert found.first_wrong.node == "layer2.0.bn2"
