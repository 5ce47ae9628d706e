from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from idsnn_convert import examine as examining
from idsnn_convert.examine import examine, machine
from idsnn_convert.passes.builder import Refusal, RefusedError
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime.errors import UserError
from tests.idsnn_convert import files


def test_a_sound_teacher_has_no_problems(tmp_path: Path) -> None:
    found = examine(files.teacher(tmp_path / "net.pth"), target="resnet8")
    assert found.problems == ()
    assert found.cautions == ()
    assert found.teacher is not None
    assert found.first_wrong is None


def test_a_target_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (problem,) = examine(files.teacher(tmp_path / "net.pth"), target="resnet9").problems
    assert "resnet9" in problem.reason
    assert "resnet8" in problem.advice


def test_a_file_that_is_no_teacher_is_a_problem_but_a_missing_one_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    assert len(examine(tmp_path / "notes.txt").problems) == 1
    with pytest.raises(UserError, match="no such file"):
        examine(tmp_path / "gone.pth")


def test_every_refused_call_is_a_problem_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RefusedError(
            "two calls", "see", [Refusal("a.fft", "net.py:3", "no form", "leave it"), Refusal("b.fft", "", "no", "x")]
        )

    monkeypatch.setattr(examining, "load_teacher", refuse)
    problems = examine(files.teacher(tmp_path / "net.pth")).problems
    assert [(p.node, p.source, p.reason, p.advice) for p in problems] == [
        ("a.fft", "net.py:3", "no form", "leave it"),
        ("b.fft", "", "no", "x"),
    ]


def test_images_it_was_not_trained_on_are_told_by_the_first_batch_norm(tmp_path: Path) -> None:
    found = examine(files.teacher(tmp_path / "net.pth"), data=files.data(tmp_path / "data", train=100))
    assert found.first_wrong is not None
    assert found.first_wrong.node == "bn1"  # random statistics


@pytest.mark.parametrize(
    ("name", "normalisation"),
    [("resnet20-12fca82f.th", "imagenet"), ("resnet8_cifar10.pth", "cifar10-kuangliu")],
)
def test_real_teachers_are_the_networks_that_were_trained(
    teachers_dir: Path, cifar10_dir: Path, name: str, normalisation: str
) -> None:
    found = examine(teachers_dir / name, target="resnet8", data=f"cifar10:{cifar10_dir}")
    assert found.choice is not None
    assert found.choice.best is not None
    assert found.choice.best.normalisation.name == normalisation
    assert found.first_wrong is None


def test_a_lost_relu_is_found_at_the_first_batch_norm_behind_it(
    teachers_dir: Path, cifar10_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = load_teacher(teachers_dir / "resnet20-12fca82f.th")
    site = real.graph.of("activation")[3]
    linear = replace(site, attrs={"kind": "leaky_relu", "slope": 1.0})
    wrong = replace(real, graph=real.graph.with_nodes({site.name: linear}))
    monkeypatch.setattr(examining, "load_teacher", lambda *_, **__: wrong)
    found = examine(teachers_dir / "resnet20-12fca82f.th", data=f"cifar10:{cifar10_dir}")
    assert found.first_wrong is not None
    order = [node.name for node in real.graph]
    behind = [node.name for node in real.graph.of("batch_norm") if order.index(node.name) > order.index(site.name)]
    assert found.first_wrong.node == behind[0]


def test_machine() -> None:
    facts = machine()
    assert facts["torch"] == torch.__version__
    assert isinstance(facts["compiled_kernels"], bool)
    assert set(facts["optional_packages"]) >= {"onnx", "timm"}
