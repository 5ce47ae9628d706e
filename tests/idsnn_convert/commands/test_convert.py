from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from idsnn_convert import runtime
from idsnn_convert.runtime.checkpoint import read
from tests.idsnn_convert import files
from tests.idsnn_convert.files import TINY, assert_told, columns, done, run, unwrapped
from tests.idsnn_convert.test_balance import network


def held(path: Path) -> dict[str, Any]:
    """The tensors of a teacher's file by the names it has for them, read without this project."""
    content = torch.load(path, weights_only=True, map_location="cpu")
    return next(content[key] for key in ("state_dict", "model_state_dict") if key in content)


def stored(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def assert_follows_the_index_rule(rows: list[dict[str, Any]], student: dict[str, np.ndarray], teacher: dict[str, Any]) -> int:
    """out[i, j] = in[i mod O, j mod I] for every mapped tensor; how many there are."""
    assert [row["target"] for row in rows] == list(dict.fromkeys(row["target"] for row in rows))
    assert {row["target"] for row in rows} == student.keys()
    mapped = [row for row in rows if row["source"] is not None]
    for row in mapped:
        out, source = student[row["target"]], teacher[row["source"]].numpy()
        assert (list(source.shape), list(out.shape)) == (row["source_shape"], row["target_shape"])
        wanted = source
        for axis in range(min(2, source.ndim)):
            wanted = np.take(wanted, np.arange(out.shape[axis]) % source.shape[axis], axis)
        np.testing.assert_array_equal(out, wanted, err_msg=row["target"])
        assert row["rule"] == ("copy" if source.shape == out.shape else "loop")
        assert row["reason"] == ""
    for row in rows:
        if row["source"] is None:
            assert row["rule"] == "fresh"
            assert row["reason"]
    return len(mapped)


def test_the_file_and_the_json_say_the_same(teacher: Path) -> None:
    told = json.loads(done("convert", teacher, *TINY, "--json").stdout)
    assert told["file"] == "tiny-resnet8.safetensors"
    assert told["format_version"] == 1
    assert told["time_steps"] == 2
    assert {"kind", "v_threshold", "decay"} <= told["neurons"][0]["settings"].keys()
    assert len(told["neurons"]) == told["activation_sites"] == 7
    assert told["teacher"]["family"] == "akamaster CIFAR ResNet"
    assert len(told["teacher"]["sha256"]) == 64
    assert told["settings"]["downsample"] == "pad"
    assert {"target", "source", "rule", "source_shape", "target_shape", "reason"} <= told["tensors"][0].keys()
    source = held(teacher)
    assert assert_follows_the_index_rule(told["tensors"], stored(Path(told["file"])), source) == told["coverage"]["tensors"]
    used = {row["source"] for row in told["tensors"]} - {None}
    assert used | {row["source"] for row in told["unused"]} == source.keys()
    assert used.isdisjoint(row["source"] for row in told["unused"])
    assert json.loads(done("inspect", told.pop("file"), "--json").stdout) == told


def test_what_is_written_computes(teacher: Path) -> None:
    done("convert", teacher, *TINY, "-o", "s.safetensors")
    assert runtime.load("s.safetensors").eval()(torch.randn(3, 1, 28, 28)).shape == (2, 3, 10)


def test_the_report_says_where_everything_came_from(teacher: Path) -> None:
    told = done("convert", teacher, *TINY).stdout
    assert told.startswith("resnet(2-1-2 basic) -> spiking resnet8")
    for text in (
        "downsample pad",
        "assumed Shortcuts that change shape skip pixels",
        "7 LIF layers for 7 activation sites",
        "stage1.block0 stage1.block0",
        "From the teacher: ",
        "fc.weight, fc.bias: the head stays fresh, as published",
        "no target block takes stage1.block1, stage3.block1 under the relative rule",
        "- one neuron per activation site: 7 neurons - tensors fit",
        "Wrote tiny-resnet8.safetensors (",
    ):
        assert text in unwrapped(told)
    assert columns(told) <= 80
    assert "\x1b" not in told


def test_equal_input_gives_equal_bytes(teacher: Path) -> None:
    for name in ("a", "b"):
        done("convert", teacher, *TINY, "-o", name)
    assert Path("a").read_bytes() == Path("b").read_bytes()


def test_every_choice_reaches_the_checkpoint(teacher: Path) -> None:
    choices = {"match": "prefix", "scale": "variance", "shortcuts": "fresh", "downsample": "projection", "stem": "cifar"}
    options = [f"--{key}={value}" for key, value in choices.items()]
    told = json.loads(done("convert", teacher, *TINY, *options, "--encoder=poisson", "--seed=7", "--json").stdout)
    assert choices.items() <= told["settings"].items()
    assert told["settings"]["seed"] == 7
    assert told["encoder"] == "poisson"
    projections = [row for row in told["tensors"] if "downsample" in row["target"]]
    assert {row["reason"] for row in projections} == {"shortcuts were asked to stay fresh"}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], {"kind": "lif", "v_threshold": 0.5, "decay": 0.25, "reset": "hard", "surrogate": "rectangle", "width": 0.5}),
        (["--tau", "2", "--v-threshold", "1"], {"decay": math.exp(-0.5), "v_threshold": 1.0, "tau": pytest.approx(2)}),
        (["--decay", "0.5", "--reset", "soft"], {"decay": 0.5, "reset": "soft"}),
        (["--neuron", "if"], {"kind": "if", "decay": 1.0, "tau": None}),
        (["--surrogate", "arctan", "--surrogate-width", "0.25"], {"surrogate": "arctan", "width": 0.25}),
    ],
)
def test_the_neurons_are_as_asked(teacher: Path, options: list[str], found: dict[str, Any]) -> None:
    neurons = json.loads(done("convert", teacher, *TINY, *options, "--json").stdout)["neurons"]
    assert all({**neuron["settings"], **found} == neuron["settings"] for neuron in neurons)


def test_data_tells_what_the_file_does_not(teacher: Path, fashion: str) -> None:
    told = json.loads(done("convert", teacher, *TINY, "--data", fashion, "--json").stdout)
    assert told["teacher"]["evidence"]["data"] == "fashion-mnist"
    assert told["cautions"][0]["reason"].startswith("its batch norms do not agree with 48 images")
    without = json.loads(done("convert", teacher, *TINY, "--json", "-o", "without").stdout)
    assert without["teacher"]["evidence"] == {}
    assert "The head averages over the whole map." in without["teacher"]["assumptions"]


@pytest.mark.parametrize(("shortcut", "found"), [("pad", "pad"), ("projection", "projection")])
def test_shortcuts_follow_the_teachers_unless_asked(shortcut: str, found: str) -> None:
    teacher = files.teacher(Path("t.th"), replace(files.PADDED, shortcut=shortcut))
    told = json.loads(done("convert", teacher, *TINY, "--json").stdout)
    assert told["settings"]["downsample"] == found
    assert any("downsample" in row["target"] for row in told["tensors"]) == (found == "projection")


def test_a_conversion_replaces_its_like_and_nothing_else(teacher: Path, trained: Path) -> None:
    place = Path("s.safetensors")
    done("convert", teacher, *TINY, "-o", place)
    before = place.read_bytes()
    done("convert", teacher, *TINY, "--seed", 1, "-o", place)
    assert place.read_bytes() != before

    for content, why in (
        ((trained / "best.safetensors").read_bytes(), "has been trained"),
        (b"notes", "no spiking checkpoint"),
    ):
        place.write_bytes(content)
        assert_told(run("convert", teacher, *TINY, "-o", place), str(place), why, "--force")
        assert place.read_bytes() == content
        done("convert", teacher, *TINY, "-o", place, "--force")
        assert not read(place).training


def test_it_never_writes_over_the_teacher() -> None:
    teacher = files.teacher(Path("t.th"))
    before = teacher.read_bytes()
    assert_told(run("convert", teacher, *TINY, "-o", teacher, "--force"), "t.th is the teacher itself", "-o")
    assert teacher.read_bytes() == before


def test_a_file_that_is_no_teacher_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for path, words in files.wrong_files(tmp_path).values():
        before = sorted(tmp_path.iterdir())
        result = run("convert", path, "--target", "resnet20")
        assert_told(result, str(path), words)
        assert len(result.stderr.splitlines()) <= 2  # what is wrong, and the way out
        assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--target", "resnet81"], ["unknown target 'resnet81'", "Did you mean resnet8?"]),
        ([*TINY, "--match", "best"], ["unknown match rule 'best'", "relative"]),
        ([*TINY, "--downsample", "pool"], ["unknown downsample 'pool'", "projection"]),
        ([*TINY, "--stem", "deep"], ["unknown stem 'deep'", "cifar"]),
        ([*TINY, "--encoder", "morse"], ["unknown encoder 'morse'", "poisson"]),
        ([*TINY, "--data", "fashion-mnist:nowhere"], ["folder nowhere does not exist"]),
        ([*TINY, "--tau", "2", "--decay", "0.5"], ["give one"]),
        ([*TINY, "--tau", "0"], ["--tau must be above 0"]),
        ([*TINY, "--decay", "1.5"], ["neuron decay must be a number above 0 and up to 1, not 1.5"]),
        ([*TINY, "--neuron", "hh"], ["neuron kind 'hh' is unknown", "lif"]),
        ([*TINY, "--neuron", "if", "--decay", "0.5"], ["an if neuron keeps all its potential"]),
        ([*TINY, "--surrogate", "cliff"], ["neuron surrogate 'cliff' is unknown", "rectangle"]),
        ([*TINY, "--arch", "resnet50"], ["not of resnet50"]),
        ([*TINY, "-o", "nowhere/s.safetensors"], ["the folder nowhere does not exist"]),
        ([*TINY, "-o", "."], [". is a folder", "-o"]),
        ([], ["Missing option '--target'"]),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(teacher: Path, options: list[str], told: list[str]) -> None:
    assert_told(run("convert", teacher, *options), *told)
    assert list(Path().iterdir()) == []


REAL = [
    ("resnet32-d509ac18.th", "resnet20", "akamaster CIFAR ResNet", 19),
    ("resnet32-d509ac18.th", "resnet56", "akamaster CIFAR ResNet", 55),
    ("resnet32-d509ac18.th", "resnet18", "akamaster CIFAR ResNet", 17),
    ("resnet8_cifar100.pth", "resnet20", "karanchahal/distiller", 19),
    ("resnet8_cifar100.pth", "resnet18", "karanchahal/distiller", 17),
]


@pytest.mark.parametrize(("file", "target", "family", "sites"), REAL)
def test_real_teachers(teachers_dir: Path, file: str, target: str, family: str, sites: int) -> None:
    result = done("convert", teachers_dir / file, "--target", target, "-o", "s.safetensors")
    assert columns(result.stdout) <= 80
    told = json.loads(done("inspect", "s.safetensors", "--json").stdout)
    assert told["teacher"]["family"] == family
    assert len(told["neurons"]) == told["activation_sites"] == sites
    source, student = held(teachers_dir / file), stored(Path("s.safetensors"))
    mapped = assert_follows_the_index_rule(told["tensors"], student, source)
    assert mapped == told["coverage"]["tensors"]
    assert told["coverage"]["of_parameters"] == sum(math.prod(tensor.shape) for tensor in student.values())
    used = {row["source"] for row in told["tensors"]} - {None}
    assert used | {row["source"] for row in told["unused"]} == source.keys()
    padded = target in ("resnet20", "resnet56") and file.startswith("resnet32")
    assert told["settings"]["downsample"] == ("pad" if padded else "projection")
    fresh = {row["target"].rpartition(".")[0] for row in told["tensors"] if row["source"] is None}
    assert "fc" in fresh
    assert not padded or fresh == {"fc"}


def test_reports_are_written_beside_the_student(teacher: Path) -> None:
    names = ("r.html", "r.md", "r.json")
    told = done("convert", teacher, *TINY, *(word for name in names for word in ("--report", name))).stdout
    for name in names:
        assert f"Wrote {name} ({Path(name).stat().st_size:,} bytes)." in told
    record = json.loads(Path("r.json").read_text())
    told = json.loads(done("convert", teacher, *TINY, "--json").stdout)
    assert record["tensors"] == told["tensors"]
    assert record["student"]["name"] == "tiny-resnet8.safetensors"
    before = [Path(name).read_bytes() for name in names]
    done("inspect", "tiny-resnet8.safetensors", *(word for name in names for word in ("--report", name)))
    assert [Path(name).read_bytes() for name in names] == before


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("r.txt", ["no report ends in '.txt'", "Known: .html, .md, .json"]),
        ("nowhere/r.html", ["the folder nowhere does not exist"]),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_any_work(report: str, told: list[str]) -> None:
    assert_told(run("convert", "not-even-there.th", *TINY, "--report", report), *told)
    assert list(Path().iterdir()) == []


def test_balanced_thresholds_are_told_recorded_and_made_again_by_the_recorded_command(tmp_path: Path, fashion: str) -> None:
    ann = network(tmp_path / "ann.safetensors")
    asked = ("--target", "same", "--neuron", "if", "--reset", "soft", "--balance", "percentile:99", "--data", fashion)
    few = ("--steps", 30, "--images", 8, "--curve", 10)
    result = done("convert", ann, *asked, *few, "-o", "a", "--report", "a.md", "--report", "a.html")
    told = unwrapped(result.stdout)
    assert "percentile:99 of the currents that 8 training images of fashion-mnist give, direct encoding, 30 steps" in told
    assert "of 10 test images" in told
    assert "half normalisation: as the file says" in result.stderr
    student = read(Path("a"))
    assert student.time_steps == 30  # those of the calibration unless others are asked for
    assert "## Accuracy against time steps" in Path("a.md").read_text()
    assert "without spikes" in Path("a.html").read_text()
    again = student.provenance["command"].split()
    done("convert", *[fashion if word.startswith("fashion-mnist:") else word for word in again[1:]], "-o", "b")
    assert Path("a").read_bytes() == Path("b").read_bytes()


def test_balancing_is_refused_before_anything_is_written(tmp_path: Path, fashion: str) -> None:
    ann, asked = network(tmp_path / "ann.safetensors"), ("--target", "same", "--balance", "max", "-o", "student")
    assert_told(run("convert", ann, *asked), "there is no data set")
    assert_told(run("convert", ann, *asked, "--data", fashion), "leaks or learns", "--neuron if")
    assert not Path("student").exists()
