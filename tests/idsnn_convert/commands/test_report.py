from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from idsnn_convert.runtime.checkpoint import read, save
from tests.idsnn_convert.files import assert_told, done, run


def test_a_run_becomes_a_page(trained: Path) -> None:
    told = done("report", trained).stdout
    page = Path("run.html").read_text(encoding="utf-8")
    assert told == f"Wrote run.html ({len(page.encode()):,} bytes).\n"
    assert "fashion-mnist, 48 / 24 images" in page
    told = json.loads(done("report", trained, "-o", "run.html", "--json").stdout)  # over itself
    assert told == {"kind": "run report", "file": "run.html", "bytes": len(page.encode()), "runs": [str(trained)]}


def test_a_run_is_measured_once_and_drawn_from_what_was_kept(trained: Path, teacher: Path, fashion: str) -> None:
    run_folder = Path("run")
    shutil.copytree(trained, run_folder)
    before = sorted(file.name for file in run_folder.iterdir())
    told = done("report", "run", "--data", fashion, "--teacher", teacher, "--image", 5, "--limit", 8, "--seed", 2)
    assert "run/probe.json: 8 images of fashion-mnist, top-1" in told.stderr
    assert sorted(file.name for file in run_folder.iterdir()) == sorted([*before, "probe.json"])
    page = Path("run.html").read_text(encoding="utf-8")
    for words in ("Test image 5 of fashion-mnist", "by seed 2", "8 test images", "teacher"):
        assert words in page
    done("report", "run")
    assert Path("run.html").read_text(encoding="utf-8") == page


def test_a_baseline_is_a_number_or_a_run(trained: Path) -> None:
    for text, told in (("61.5", "baseline 61.5"), (str(trained), "run ")):
        done("report", trained, "--baseline", text)
        assert f">{told}" in Path("run.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--image", "3"], ["--image is of what --data measures"]),
        (["--seed", "3"], ["--seed is of what --data measures"]),
        (["--baseline", "101"], ["--baseline 101: an accuracy is from 0 to 100 percent"]),
        (["--baseline", "elsewhere"], ["elsewhere holds no run"]),
        (["--data", "cifar10:nowhere"], ["nowhere"]),
    ],
)
def test_what_a_run_cannot_be_held_against(arguments: list[str], told: list[str], trained: Path) -> None:
    assert_told(run("report", trained, *arguments), *told)
    assert list(Path().iterdir()) == []
    assert not (trained / "probe.json").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], ["nowhere holds no run", "idsnn train --out RUN"]),
        (["nowhere", "-o", "a.pdf"], ["-o a.pdf: no report ends in '.pdf'", "Known: .html."]),
        (["nowhere", "-o", "there/a.html"], ["the folder there does not exist"]),
        ([], ["Missing argument 'RUN...'"]),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(arguments: list[str], told: list[str]) -> None:
    assert_told(run("report", *arguments), *told)
    assert list(Path().iterdir()) == []


def test_a_run_whose_checkpoint_tells_its_training_otherwise_is_told(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "other"))
    last = read(folder / "last.safetensors")
    training = {key: value for key, value in last.training.items() if key != "dataset"}
    save(folder / "last.safetensors", last.with_tensors(last.tensors, training=training))
    assert_told(run("report", folder, "-o", "page.html"), "not told as this release tells it how it was trained")
    assert not Path("page.html").exists()
