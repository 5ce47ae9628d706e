from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert import runtime
from idsnn_convert.runtime import trainer
from idsnn_convert.runtime.stop import Interrupted
from tests.idsnn_convert import files
from tests.idsnn_convert.files import assert_told, run


@pytest.fixture
def ready(tmp_path: Path) -> list[Any]:
    """``train STUDENT --teacher ... --data ... --out RUN`` on 40 images, 2 epochs, batches of 10."""
    teacher, data = files.teacher(tmp_path / "net.pth"), files.data(tmp_path / "data")
    run("convert", teacher, "--target", "resnet8", "-T", 2, "-o", tmp_path / "s.safetensors")
    files_given = [tmp_path / "s.safetensors", "--teacher", teacher, "--data", data, "--out", tmp_path / "run"]
    return ["train", *files_given, "--epochs", 2, "--set", "run.batch_size=10", "--no-compile"]


def test_a_run_and_what_it_leaves(ready: list[Any], tmp_path: Path) -> None:
    result = run(*ready, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(line["train_kl"] > 0 for line in lines)
    assert facts["best_top1"] == max(line["test_top1_percent"] for line in lines)
    assert result.stderr.count("epoch ") == 2
    best = runtime.read(tmp_path / "run" / "best.safetensors")
    assert best.training["recipe"]["run"]["epochs"] == 2
    assert best.normalisation
    assert best.mapping == runtime.read(tmp_path / "s.safetensors").mapping
    assert "batch_size = 10" in (tmp_path / "run" / "recipe.toml").read_text()
    shown = run("inspect", tmp_path / "run" / "best.safetensors").stdout
    assert "Trained" in shown


def test_a_run_folder_is_not_taken_twice_and_can_be_resumed(ready: list[Any], tmp_path: Path) -> None:
    assert run(*ready).exit_code == 0
    assert_told(run(*ready), "run", "--resume")
    assert run(*ready, "--resume").exit_code == 0


def test_stopped_by_a_signal(ready: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Interrupted(2)

    monkeypatch.setattr(trainer, "_epochs", stopped)
    result = run(*ready)
    assert result.exit_code == 130
    assert "--resume" in result.stderr
    assert result.stdout == ""


def test_mistakes(ready: list[Any], tmp_path: Path) -> None:
    student = ready[1]
    data = ready[5]
    out = ["--data", data, "--out", tmp_path / "fresh"]
    assert_told(run("train", student, *out), "teacher")
    assert_told(run(*ready, "--recipe", "idsn"), "'idsn'", "idsnn")
    assert_told(run(*ready, "--set", "loss.alfa=1"), "alfa", "alpha")
    assert_told(run(*ready, "--set", "optimizer.lr=fast"), "optimizer.lr")
    assert_told(run("train", tmp_path / "net.pth", *out, "--recipe", "init-only"), "net.pth")
    assert_told(run("train", tmp_path / "gone.safetensors", *out), "gone.safetensors")
    assert_told(run("train", student, "--data", "cifar10:nowhere", "--out", tmp_path / "fresh"), "nowhere")
    assert not (tmp_path / "fresh").exists()
