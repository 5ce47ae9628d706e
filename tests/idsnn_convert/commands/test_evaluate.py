from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.idsnn_convert import files
from tests.idsnn_convert.files import assert_told, run


def test_a_teacher_and_a_student(tmp_path: Path) -> None:
    teacher, data = files.teacher(tmp_path / "net.pth"), files.data(tmp_path / "data")
    run("convert", teacher, "--target", "resnet8", "-o", tmp_path / "s.safetensors")
    for path, steps in ((teacher, None), (tmp_path / "s.safetensors", 4)):
        result = run("evaluate", path, "--data", data, "--json")
        assert result.exit_code == 0, result.output
        facts = json.loads(result.stdout)
        assert {"top1", "loss", "images_per_second", "images", "normalisation"} <= set(facts)
        assert facts["images"] == 20
        assert 0 <= facts["top1"] <= 100
        assert len(facts.get("top1_per_step", [])) == (steps or 0)
        assert "normalisation" in result.stderr


def test_limit_time_steps_and_normalisation(tmp_path: Path) -> None:
    teacher, data = files.teacher(tmp_path / "net.pth"), files.data(tmp_path / "data")
    run("convert", teacher, "--target", "resnet8", "-o", tmp_path / "s.safetensors")
    options = ["--limit", 7, "-T", 2, "--normalisation", "0.1/0.7", "--json"]
    facts = json.loads(run("evaluate", tmp_path / "s.safetensors", "--data", data, *options).stdout)
    assert facts["images"] == 7
    assert len(facts["top1_per_step"]) == 2
    assert "0.7" in json.dumps(facts)
    assert_told_teacher = run("evaluate", teacher, "--data", data, "-T", 2)
    assert_told(assert_told_teacher, "time steps")


def test_mistakes(tmp_path: Path) -> None:
    teacher, data = files.teacher(tmp_path / "net.pth"), files.data(tmp_path / "data")
    assert_told(run("evaluate", teacher, "--data", f"cifar10:{tmp_path / 'nowhere'}"), "nowhere")
    assert_told(run("evaluate", teacher, "--data", f"cifar10:{tmp_path / 'data'}"), "data_batch")
    assert_told(run("evaluate", teacher, "--data", "cifar11:x"), "cifar11", "cifar10")
    assert_told(run("evaluate", teacher, "--data", "data"), "data")
    assert_told(run("evaluate", tmp_path / "gone.pth", "--data", data), "gone.pth")
    assert_told(run("evaluate", teacher, "--data", data, "--normalisation", "imagnet"), "imagnet", "imagenet")
    assert_told(run("evaluate", teacher, "--data", data, "--device", "abacus"), "abacus")


@pytest.mark.parametrize(
    ("name", "least"),
    [("resnet20-12fca82f.th", 88), ("resnet32-d509ac18.th", 88), ("resnet8_cifar10.pth", 85), ("resnet8_cifar100.pth", 58)],
)
def test_real_teachers_need_no_flag(request: pytest.FixtureRequest, teachers_dir: Path, name: str, least: float) -> None:
    """The first 500 test images; the full sets give 91.73, 92.63, 89.59 and 64.11."""
    hundred = "cifar100" in name
    folder = request.getfixturevalue("cifar100_dir" if hundred else "cifar10_dir")
    spec = f"{'cifar100' if hundred else 'cifar10'}:{folder}"
    facts = json.loads(run("evaluate", teachers_dir / name, "--data", spec, "--limit", 500, "--json").stdout)
    assert facts["top1"] >= least


def test_a_data_set_of_other_classes_is_told(teachers_dir: Path, cifar100_dir: Path) -> None:
    result = run("evaluate", teachers_dir / "resnet20-12fca82f.th", "--data", f"cifar100:{cifar100_dir}")
    assert_told(result, "10 classes", "100")
