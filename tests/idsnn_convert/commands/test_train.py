from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from idsnn_convert.runtime.checkpoint import read
from tests.idsnn_convert.files import assert_told, done, run

ROOT = Path(__file__).resolve().parents[3]
SMALL = ("--set", "run.batch_size=16")


def test_a_run_leaves_everything_in_its_folder(trained: Path, student: Path) -> None:
    files = {"best.safetensors", "last.safetensors", "metrics.jsonl", "recipe.toml", "state.safetensors"}
    assert files <= {path.name for path in trained.iterdir()}
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    last, start = read(trained / "last.safetensors"), read(student)
    assert last.mapping == start.mapping
    assert last.training["metrics"] == records[-1]
    assert last.training["recipe"]["run"]["batch_size"] == 16
    assert last.normalisation is not None
    assert any((last.tensors[name] != start.tensors[name]).any() for name in start.tensors)


def test_it_tells_how_it_goes_and_how_it_ended(student: Path, fashion: str) -> None:
    result = done("train", student, "--data", fashion, "--out", "run", "--recipe", "init-only", "--epochs", 1, *SMALL)
    assert result.stdout.startswith("best top-1 ")
    assert "run/best.safetensors" in result.stdout
    assert "normalisation: the usual one for fashion-mnist" in result.stderr
    assert "epoch   1  loss " in result.stderr


def test_as_json_and_on_fewer_images(student: Path, teacher: Path, fashion: str) -> None:
    options = ("--teacher", teacher, "--epochs", 1, "--limit-train", 16, "--seed", 5, *SMALL, "--json")
    told = json.loads(done("train", student, "--data", fashion, "--out", "run", *options).stdout)
    assert told.keys() >= {"best_top1", "best_epoch", "best", "last_top1", "last", "epochs", "normalisation"}
    recorded = read(Path(told["last"])).training
    assert (recorded["train_images"], recorded["recipe"]["run"]["seed"]) == (16, 5)
    assert recorded["teacher_sha256"]


def test_a_second_run_takes_the_teachers_logits_from_the_cache(student: Path, teacher: Path, fashion: str) -> None:
    options = ("--teacher", teacher, "--data", fashion, "--epochs", 1, *SMALL, "--teacher-cache", "kept/here")
    for run_folder, lr in (("one", 0.1), ("two", 0.2)):
        done("train", student, *options, "--out", run_folder, "--set", f"optimizer.lr={lr}")
    found = [json.loads(Path(name, "metrics.jsonl").read_text())["teacher_cached_percent"] for name in ("one", "two")]
    assert found == [0, 100]
    result = done("train", student, *options, "--out", "three", "--seed", 1, "--teacher-cache-gib", "1e-6")
    assert "no more logits are kept: kept/here has reached its limit of " in result.stderr
    assert len(list(Path("kept/here").rglob("*.safetensors"))) == 1


def test_resuming_what_is_done_changes_nothing(student: Path, fashion: str) -> None:
    options = ("train", student, "--data", fashion, "--out", "run", "--recipe", "init-only", "--epochs", 1, *SMALL)
    done(*options)
    before = Path("run/last.safetensors").read_bytes()
    done(*options, "--resume")
    assert Path("run/last.safetensors").read_bytes() == before
    assert_told(run(*options), "run already holds a run", "Resume it")


def test_ctrl_c_stops_a_run_that_can_be_resumed(student: Path, fashion: str) -> None:
    command = [sys.executable, "-m", "idsnn_convert", "train", str(student), "--data", fashion, "--out", "run"]
    command += ["--recipe", "init-only", "--epochs", "2000", "--no-compile", "--set", "run.batch_size=16"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        metrics = Path("run/metrics.jsonl")
        until = time.monotonic() + 120
        while not metrics.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert "the same command with --resume goes on from here" in err
    assert "Traceback" not in err
    epochs = len(metrics.read_text().splitlines())
    same = ("train", student, "--data", fashion, "--out", "run", "--recipe", "init-only", *SMALL)
    assert_told(run(*same, "--epochs", epochs + 1, "--resume"), "run.epochs")


def test_two_processes_under_torchrun_report_once(student: Path, fashion: str) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "idsnn_convert"]
    options = ["train", str(student), "--data", fashion, "--out", "run", "--recipe", "init-only", "--epochs", "1", *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*launcher, *options, "--json"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["epochs"] == 1
    assert ended.stderr.count("2 processes share each batch of 16 images") == 1
    assert ended.stderr.count("epoch   1  loss ") == 1
    assert json.loads(Path("run/metrics.jsonl").read_text())["processes"] == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], ["distills (loss.alpha = 0.3), but there is no teacher", "--teacher", "init-only"]),
        (["--recipe", "idsn"], ["unknown recipe 'idsn'", "Did you mean 'idsnn'?"]),
        (["--set", "optimizer.rl=1"], ["optimizer.rl", "optimizer.lr"]),
        (["--recipe", "init-only", "--resume"], ["run holds no run to resume"]),
        (["--recipe", "init-only", "--data", "cifar10:."], ["no cifar10 files in ."]),
    ],
)
def test_a_request_that_cannot_be_met_starts_nothing(student: Path, fashion: str, options: list[str], told: list[str]) -> None:
    assert_told(run("train", student, "--data", fashion, "--out", "run", *options), *told)
    assert not Path("run").exists()


def test_a_teacher_is_no_student(teacher: Path, fashion: str) -> None:
    result = run("train", teacher, "--data", fashion, "--out", "run", "--recipe", "init-only")
    assert_told(result, str(teacher), "no readable SNN checkpoint")


def test_a_spiking_teacher_says_what_it_is(student: Path, fashion: str) -> None:
    result = run("train", student, "--teacher", student, "--arch", "resnet8", "--data", fashion, "--out", "run")
    assert_told(result, "is a spiking checkpoint, which says what it is")
