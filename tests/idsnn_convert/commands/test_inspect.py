from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from idsnn_convert.runtime.checkpoint import read, save
from tests.idsnn_convert import files
from tests.idsnn_convert.files import assert_told, columns, done, run, unwrapped
from tests.idsnn_convert.test_balance import network

ROOT = Path(__file__).resolve().parents[3]


def test_a_teacher(teacher: Path) -> None:
    told = done("inspect", teacher).stdout
    for text in (
        "resnet(2-1-2 basic) (akamaster CIFAR ResNet)",
        f"{teacher}, state dict",
        "28x28, 1 channels; 10 classes",
        "11 sites (11 relu)",
        "assumed The head averages over the whole map.",
        "2 1 8x14x14 2 1 ",
        "a counter of training batches, not a weight",
    ):
        assert text in unwrapped(told)
    assert f"file         {teacher}, state dict\n" in told  # a path is never broken


def test_a_teacher_as_json(teacher: Path) -> None:
    told = json.loads(done("inspect", teacher, "--json").stdout)
    assert (told["kind"], told["family"], told["classes"]) == ("teacher", "akamaster CIFAR ResNet", 10)
    assert told["file"] == str(teacher)
    assert told["activations"] == {"relu": 11}
    assert [len(stage["blocks"]) for stage in told["stages"]] == [2, 1, 2]
    assert told["stages"][1]["blocks"][0]["shortcut"] == "pad"
    assert told["stages"][0]["blocks"][0] == {
        "name": "stage1.block0", "join": "layer1.0.add", "convolutions": 2, "shortcut": "identity", "source": ""
    }  # fmt: skip


def test_a_checkpoint(student: Path) -> None:
    told = done("inspect", student).stdout
    for text in (
        "-> spiking resnet8",
        "Neurons: lif, v_threshold 0.5, decay 0.25, hard reset, rectangle surrogate of half-width 0.5",
        "3 4x28x28 lif ... layer1.0.lif2",
        "Normalisation of images: not known yet",
        "Training: not trained yet",
    ):
        assert text in unwrapped(told)
    assert columns(told) <= 80


def test_a_checkpoint_as_json(student: Path) -> None:
    told = json.loads(done("inspect", student, "--json").stdout)
    assert (told["kind"], told["time_steps"], told["training"]) == ("checkpoint", 2, {})
    assert [node["op"] for node in told["graph"]].count("neuron") == len(told["neurons"]) == told["activation_sites"]
    assert told["parameters"] == told["coverage"]["of_parameters"]


def test_a_trained_checkpoint(trained: Path) -> None:
    told = unwrapped(done("inspect", trained / "last.safetensors").stdout)
    assert "Training: 2 epochs on 48 images of fashion-mnist, distilled from a teacher; top-1 " in told
    assert " % of 24 test images, loss " in told
    assert "Normalisation of images: not known yet" not in told


def test_a_checkpoint_made_by_something_else(student: Path) -> None:
    checkpoint = read(student)
    save(Path("s.safetensors"), replace(checkpoint, mapping={"tensors": [1]}))
    result = run("inspect", "s.safetensors")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "s.safetensors holds a network, but how it was made is not told" in result.stderr
    save(Path("s.safetensors"), replace(checkpoint, mapping={}, teacher={}))
    assert "unknown teacher -> spiking network" in done("inspect", "s.safetensors").stdout
    assert json.loads(done("inspect", "s.safetensors", "--json").stdout)["tensors"] == []


def test_a_name_that_the_pipe_cannot_carry(tmp_path: Path) -> None:
    files.teacher(tmp_path / "né.th")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "idsnn_convert", "inspect", "né.th"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "file         n\\xe9.th, state dict" in told.stdout


@pytest.mark.parametrize("damage", ["cut short", "another file"])
def test_a_damaged_checkpoint(student: Path, damage: str) -> None:
    whole = student.read_bytes()
    Path("s.safetensors").write_bytes(whole[:-100] if damage == "cut short" else b"\x93NUMPY" + whole)
    assert_told(run("inspect", "s.safetensors"), "s.safetensors")


def test_names_in_a_file_cannot_speak_to_the_terminal() -> None:
    files.teacher(Path("t.th"))
    content = torch.load("t.th", weights_only=True)
    content["state_dict"]["module.notes\x1b[2J[red]\nfc.fake"] = torch.zeros(1)
    torch.save(content, "t.th")
    result = run("inspect", "t.th")
    assert "\x1b" not in result.output
    assert "notes\\x1b[2J[red]" in result.output


@pytest.mark.parametrize(
    "file", ["resnet32-d509ac18.th", "resnet20-12fca82f.th", "resnet8_cifar10.pth", "resnet8_cifar100.pth"]
)
def test_real_teachers_fit_80_columns(teachers_dir: Path, file: str) -> None:
    Path(file).symlink_to(teachers_dir / file)
    assert columns(done("inspect", file).stdout) <= 80


def test_a_teacher_has_no_report_of_a_mapping(teacher: Path) -> None:
    assert_told(run("inspect", teacher, "--report", "r.html"), "is a teacher; reports are of students", "idsnn convert")
    assert list(Path().iterdir()) == []


def test_a_teacher_that_is_no_chain_of_residual_blocks(tmp_path: Path) -> None:
    """A densely connected network, which no target is matched with, is a teacher all the same."""
    result = done("inspect", network(tmp_path / "ann", "densenet121"))
    assert "densenet121 (trained by idsnn teach)" in result.stdout
    assert "121 sites (121 relu)" in result.stdout
    told = json.loads(done("inspect", tmp_path / "ann", "--json").stdout)
    assert told["stages"] == []
