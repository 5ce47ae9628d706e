from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.idsnn_convert import files
from tests.idsnn_convert.files import assert_told, columns, done, run, unwrapped


def test_a_teacher_that_converts(teacher: Path) -> None:
    told = done("doctor", teacher, "--target", "resnet20").stdout
    assert told.startswith(f"{teacher} converts.\n")
    assert "assumed The head averages over the whole map." in unwrapped(told)
    assert "spiking resnet20: 95 of 97 tensors" in unwrapped(told)
    assert list(Path().iterdir()) == []


def test_a_teacher_that_does_not_convert_ends_with_1() -> None:
    torch.save({"encoder.weight": torch.zeros(3, 4), "head.bias": torch.zeros(2)}, "t.pt")
    result = run("doctor", "t.pt")
    assert result.exit_code == 1
    assert result.stderr == ""
    assert result.stdout.startswith("t.pt does not convert.\n")
    assert "2 tensors that form no known ResNet" in unwrapped(result.stdout)
    assert "-> Only ResNets can be read" in unwrapped(result.stdout)
    assert columns(result.stdout) <= 80


class Odd(nn.Module):
    """A residual network with two calls that have no canonical form."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.fc = nn.InstanceNorm2d(4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.conv1(x))
        x = x + self.norm(self.conv2(x))
        return self.fc(torch.erf(x).mean((2, 3)))


def test_every_call_in_the_way_is_listed_with_its_place() -> None:
    program = torch.export.export(Odd().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, "odd.pt2")
    result = run("doctor", "odd.pt2", "--json")
    assert result.exit_code == 1
    problems = json.loads(result.stdout)["problems"]
    assert [problem["node"] for problem in problems] == ["norm", "erf"]
    assert problems[0]["reason"] == "instance_norm has no canonical form"
    assert all(problem["source"].startswith("test_doctor.py:") and problem["advice"] for problem in problems)
    told = unwrapped(run("doctor", "odd.pt2").stdout)
    assert f"- norm ({problems[0]['source']}): instance_norm has no canonical form -> " in told


def test_as_json(teacher: Path) -> None:
    told = json.loads(done("doctor", teacher, "--json").stdout)
    assert (told["kind"], told["converts"], told["problems"], told["data"]) == ("diagnosis", True, [], None)
    assert told["coverage"]["tensors"] > 0
    Path("t.pt").write_text("no teacher\n")
    result = run("doctor", "t.pt", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["converts"], told["teacher"]) == (1, False, None)
    (problem,) = told["problems"]
    assert problem.keys() == {"node", "source", "reason", "advice"}
    assert problem["reason"] == "t.pt is a text file"


def test_it_agrees_with_convert(tmp_path: Path) -> None:
    """What the doctor passes converts, and what it refuses does not."""
    cases = [path for path, _ in files.wrong_files(tmp_path).values()]
    for path in (*cases, files.teacher(tmp_path / "good.pth")):
        converted = run("convert", path, "--target", "resnet8", "-o", tmp_path / "out").exit_code == 0
        assert (run("doctor", path, "--target", "resnet8").exit_code == 0) == converted, path


def test_its_batch_norms_are_held_against_data(teacher: Path, fashion: str) -> None:
    told = unwrapped(done("doctor", teacher, "--data", fashion).stdout)
    assert "Its images were normalised by " in told
    assert "but not beyond doubt" in told
    assert "It is not the network that was trained, or not on such images" in told
    assert "The first that does not is bn1: a variance of " in told


def test_the_machine() -> None:
    told = done("doctor", "--machine").stdout
    assert f"PyTorch {torch.__version__}" in told
    assert f"{torch.get_num_threads()} PyTorch threads" in told
    assert "onnxruntime-gpu" in told
    assert columns(told) <= 80
    facts = json.loads(done("doctor", "--machine", "--json").stdout)
    assert facts["kind"] == "machine"
    assert facts["packages"].keys() >= {"onnx", "timm", "triton"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], ["Missing argument 'TEACHER'", "--machine"]),
        (["nothing.th"], ["nothing.th: no such file"]),
        (["TEACHER", "--target", "resnet81"], ["unknown target 'resnet81'", "Did you mean resnet8?"]),
        (["TEACHER", "--arch", "resnet81"], ["unknown architecture 'resnet81'"]),
        (["TEACHER", "--data", "fashion-mnist:nowhere"], ["folder nowhere does not exist"]),
        (["TEACHER", "--data", "cifar10:."], ["no cifar10 files in ."]),
        (["TEACHER", "--machine"], ["leave TEACHER out"]),
    ],
)
def test_misuse_ends_with_2(teacher: Path, options: list[str], told: list[str]) -> None:
    assert_told(run("doctor", *(str(teacher) if option == "TEACHER" else option for option in options)), *told)


def test_names_cannot_speak_to_the_terminal() -> None:
    torch.save({"a\x1b[2J\n[red]": torch.zeros(3, 4), "b.c": torch.zeros(2)}, "t.pt")
    result = run("doctor", "t.pt", FORCE_COLOR="1", TERM="xterm")
    assert "\x1b[2J" not in result.stdout
    assert "a\\x1b[2J" in result.stdout
    assert "[red]" in result.stdout


def test_a_real_teacher_agrees_with_its_data(teachers_dir: Path, cifar100_dir: Path) -> None:
    file, data = teachers_dir / "resnet8_cifar100.pth", f"cifar100:{cifar100_dir}"
    told = json.loads(done("doctor", file, "--data", data, "--json").stdout)["data"]
    assert told["verdict"] == "same"
    assert told["normalisation"]["name"] == "cifar100"
    assert told["normalisation_clear"]
    first, *others = told["readings"]
    assert first["first_wrong"] is None
    assert (first["told_by"], {other["told_by"] for other in others}) == ("", {"batch norm"})
    assert all(other["first_wrong"]["off_by"] > 2 * other["best_there"] for other in others)
    assert all(norm["agrees"] for norm in told["batch_norms"])


def test_real_reports_fit_80_columns(teachers_dir: Path) -> None:
    Path("t.th").symlink_to(teachers_dir / "resnet32-d509ac18.th")
    told = done("doctor", "t.th", "--target", "resnet56").stdout
    assert columns(told) <= 80
    assert files.unwrapped(told).count("assumed") == 7
