from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from idsnn_convert import runtime
from tests.idsnn_convert import files
from tests.idsnn_convert.files import assert_told, run


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return files.teacher(tmp_path / "net.pth")


def test_the_json_says_what_the_file_holds(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "student.safetensors"
    result = run("convert", teacher, "--target", "resnet8", "-T", 3, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["format_version"] == 1
    assert facts["time_steps"] == 3
    assert facts["activation_sites"] == len(facts["neurons"]) == 7
    assert {"name", "kind", "v_threshold", "decay"} <= set(facts["neurons"][0])
    assert facts["teacher"]["sha256"]
    assert facts["teacher"]["family"]
    with safe_open(out, framework="pt") as file:
        assert {row["target"] for row in facts["tensors"]} == set(file.keys())
    theirs = torch.load(teacher, weights_only=True)["state_dict"]
    used = {row["source"] for row in facts["tensors"] if row["source"]}
    assert used | {row["source"] for row in facts["unused"]} == set(theirs)
    assert runtime.load(out)(torch.rand(2, 1, 28, 28)).shape == (3, 2, 10)


def test_equal_input_gives_equal_bytes_and_the_same_json_as_inspect(teacher: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    said = json.loads(run("convert", teacher, "--target", "resnet8", "-o", one, "--json").stdout)
    run("convert", teacher, "--target", "resnet8", "-o", two)
    assert one.read_bytes() == two.read_bytes()
    inspected = json.loads(run("inspect", two, "--json").stdout)
    assert {**inspected, "file": said["file"]} == said | {"file": said["file"]}


def test_without_an_output_it_is_named_after_teacher_and_target(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("convert", "net.pth", "--target", "resnet8")
    assert result.exit_code == 0, result.output
    assert "net-resnet8.safetensors" in result.stdout
    assert (tmp_path / "net-resnet8.safetensors").is_file()


def test_what_a_person_reads(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run("convert", teacher, "--target", "resnet20", "-o", tmp_path / "s.safetensors")
    for words in ("stage1.block0", "stage3.block2", "From the teacher:", "Fresh", "not used", "19 neurons"):
        assert words in result.stdout
    assert "\x1b" not in result.stdout
    table = [line for line in result.stdout.splitlines() if line.startswith(("stage", "stem", "head", "target"))]
    assert max(map(len, table)) <= 80


def test_files_that_are_no_resnet(tmp_path: Path) -> None:
    for case, path in files.wrong_files(tmp_path).items():
        before = sorted(tmp_path.iterdir())
        result = run("convert", path, "--target", "resnet8", "-o", tmp_path / "out.safetensors")
        assert_told(result, case)
        assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_target_is_answered_with_the_nearest(teacher: Path, tmp_path: Path) -> None:
    assert_told(run("convert", teacher, "--target", "resnet9", "-o", tmp_path / "x"), "'resnet9'", "Did you mean", "resnet50")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--match", "best"),
        ("--stem", "big"),
        ("--scale", "half"),
        ("--shortcuts", "some"),
        ("--head", "new"),
        ("--encoder", "x"),
    ],
)
def test_unknown_choices_are_told_with_those_there_are(teacher: Path, tmp_path: Path, option: str, value: str) -> None:
    result = run("convert", teacher, "--target", "resnet8", "-o", tmp_path / "x", option, value)
    assert_told(result, repr(value))
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_made_again_is_not_overwritten(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    convert: list[Any] = ["convert", teacher, "--target", "resnet8", "-o", out]
    assert run(*convert).exit_code == 0
    assert run(*convert).exit_code == 0  # an untrained conversion may be made anew
    checkpoint = runtime.read(out)
    runtime.save(out, checkpoint.with_tensors(checkpoint.tensors, training={"epochs": 1}))
    trained = out.read_bytes()
    assert_told(run(*convert), "has been trained", "--force")
    assert out.read_bytes() == trained
    out.write_text("my notes")
    assert_told(run(*convert), "no spiking checkpoint", "--force")
    assert out.read_text() == "my notes"
    assert run(*convert, "--force").exit_code == 0
    assert_told(run("convert", teacher, "--target", "resnet8", "-o", teacher, "--force"), "the teacher itself")
    assert_told(run("convert", teacher, "--target", "resnet8", "-o", tmp_path), "is a folder")
    assert_told(run("convert", teacher, "--target", "resnet8", "-o", tmp_path / "no" / "x"), "does not exist")


REAL = [
    ("resnet32-d509ac18.th", "resnet20"),
    ("resnet32-d509ac18.th", "resnet56"),
    ("resnet32-d509ac18.th", "resnet18"),
    ("resnet8_cifar100.pth", "resnet20"),
    ("resnet8_cifar100.pth", "resnet18"),
]


@pytest.mark.parametrize(("name", "target"), REAL, ids=[f"{name[:8]}-{target}" for name, target in REAL])
def test_real_teachers_follow_the_index_rule(teachers_dir: Path, tmp_path: Path, name: str, target: str) -> None:
    """Held against the teacher's own file, with numpy's own indexing."""
    out = tmp_path / "s.safetensors"
    facts = json.loads(run("convert", teachers_dir / name, "--target", target, "-o", out, "--json").stdout)
    assert facts["activation_sites"] == len(facts["neurons"]) > 0
    stored = torch.load(teachers_dir / name, weights_only=True, map_location="cpu")
    theirs = {key: value.numpy() for key, value in (stored.get("state_dict") or stored["model_state_dict"]).items()}
    with safe_open(out, framework="np") as file:
        ours = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert {row["target"] for row in facts["tensors"]} == set(ours)
    for row in facts["tensors"]:
        if row["source"] is None:
            assert row["reason"]
            continue
        wanted = theirs[row["source"]]
        wanted = wanted[np.arange(row["target_shape"][0]) % wanted.shape[0]]
        if wanted.ndim > 1:
            wanted = wanted[:, np.arange(row["target_shape"][1]) % wanted.shape[1]]
        assert np.array_equal(ours[row["target"]], wanted), row["target"]
    assert facts["coverage"]["percent_of_tensors"] > 75
