from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.idsnn_convert import files
from tests.idsnn_convert.files import assert_told, run


def test_a_teacher(tmp_path: Path) -> None:
    path = files.teacher(tmp_path / "net.pth")
    facts = json.loads(run("inspect", path, "--json").stdout)
    assert facts["kind"] == "teacher"
    assert (facts["input_shape"], facts["classes"]) == ([1, 28, 28], 10)
    assert [len(stage["blocks"]) for stage in facts["stages"]] == [2, 2, 2]
    assert facts["activations"] == {"relu": 13}
    shown = run("inspect", path).stdout
    assert "13 sites (13 relu)" in shown
    assert "28x28" in shown


def test_a_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    run("convert", files.teacher(tmp_path / "net.pth"), "--target", "resnet8", "-o", out)
    shown = run("inspect", out).stdout
    for words in ("spiking resnet8", "stage2.block0", "lif", "rectangle", "Not trained yet"):
        assert words in shown
    assert json.loads(run("inspect", out, "--json").stdout)["kind"] == "checkpoint"


def test_files_that_are_neither(tmp_path: Path) -> None:
    for case, path in files.wrong_files(tmp_path).items():
        assert_told(run("inspect", path), case)


def test_names_with_escapes_and_markup_are_shown_as_text(tmp_path: Path) -> None:
    state = torch.load(files.teacher(tmp_path / "net.pth"), weights_only=True)["state_dict"]
    torch.save({**state, "module.evil\x1b[2J[red]": torch.zeros(1)}, tmp_path / "evil.pth")
    for result in (
        run("inspect", tmp_path / "evil.pth"),
        run("convert", tmp_path / "evil.pth", "--target", "resnet8", "-o", tmp_path / "x"),
    ):
        assert "\x1b" not in result.output
        assert "[2J[red]" in result.output


def test_a_truncated_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    run("convert", files.teacher(tmp_path / "net.pth"), "--target", "resnet8", "-o", out)
    out.write_bytes(out.read_bytes()[:-100])
    assert_told(run("inspect", out), "s.safetensors")


@pytest.mark.parametrize("name", ["resnet20-12fca82f.th", "resnet8_cifar10.pth"])
def test_real_teachers(teachers_dir: Path, name: str) -> None:
    facts = json.loads(run("inspect", teachers_dir / name, "--json").stdout)
    assert facts["arch"] == name.split("-")[0].split("_")[0]
    assert len(facts["stages"]) == 3
