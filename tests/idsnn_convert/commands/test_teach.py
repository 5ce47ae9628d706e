from __future__ import annotations

import json
from pathlib import Path

from tests.idsnn_convert.files import assert_told, done, run

SMALL = ("--width", 0.25, "--epochs", 1, "--set", "run.batch_size=16")


def test_a_teacher_from_nothing(fashion: str) -> None:
    result = done("teach", "--arch", "resnet8", "--data", fashion, "--out", "run", *SMALL)
    assert result.stdout.startswith("best top-1 ")
    assert "run/best.safetensors" in result.stdout
    assert "resnet8 for images of 1x28x28, 10 classes: 5," in result.stderr
    assert "fashion-mnist normalisation: the usual one for fashion-mnist" in result.stderr
    assert "epoch   1  loss " in result.stderr
    files = {"best.safetensors", "last.safetensors", "metrics.jsonl", "recipe.toml", "state.safetensors"}
    assert files <= {path.name for path in Path("run").iterdir()}
    told = done("inspect", "run/best.safetensors").stdout
    assert "resnet8 (trained by idsnn teach)" in told
    assert "normalised   fashion-mnist, as recorded" in told
    assert "top-1 " in done("evaluate", "run/best.safetensors", "--data", fashion).stdout
    assert_told(run("teach", "--arch", "resnet8", "--data", fashion, "--out", "run", *SMALL), "already holds a run")


def test_as_json_and_on_fewer_images(fashion: str) -> None:
    small = (*SMALL, "--limit-train", 20, "--seed", 3, "--normalisation", "measured", "--json")
    facts = json.loads(done("teach", "--arch", "resnet14", "--data", fashion, "--out", "run", *small).stdout)
    assert facts["normalisation"] == "measured"
    assert facts["epochs"] == 1
    recipe = Path("run/recipe.toml").read_text()
    assert "seed = 3" in recipe


def test_its_help_tells_the_steps_that_follow() -> None:
    told = done("teach", "--help").stdout
    assert "idsnn-convert teacher/best.safetensors --target resnet18" in told
    assert "cifar (3x3), imagenet" in told
