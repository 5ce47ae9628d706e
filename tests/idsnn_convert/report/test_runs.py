from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.report.runs import read_runs
from idsnn_convert.runtime.errors import UserError


def row(epoch: int, top1: float = 50.0, **more: Any) -> dict[str, Any]:
    """A line of a run's metrics."""
    losses = {"train_loss": 2.0 / epoch, "test_loss": 2.2 / epoch}
    accuracy = {"train_top1_percent": top1, "test_top1_percent": top1, "test_top1_percent_per_step": [top1 / 2, top1]}
    return {"epoch": epoch, "lr": 0.1, **losses, **accuracy, "train_seconds": 50.0, "test_seconds": 10.0, **more}


def run(folder: Path, *rows: dict[str, Any], recipe: str = "[run]\nepochs = 9\n") -> Path:
    """The folder of a run without checkpoints."""
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.toml").write_text(recipe)
    return folder


def test_a_real_run(trained: Path) -> None:
    (found,) = read_runs([trained])
    assert (found.name, [epoch.epoch for epoch in found.epochs]) == ("run", [1, 2])
    assert found.settings["run.batch_size"] == 16
    assert found.facts["dataset"] == "fashion-mnist"
    assert "torch" in found.versions
    assert len(found.last.test_top1_percent_per_step) == 2


def test_what_is_best_last_and_how_long_it_took() -> None:
    (found,) = read_runs([run(Path("a"), row(1, 40), row(2, 60), row(3, 60), row(4, 55))])
    assert (found.best.epoch, found.last.epoch, found.seconds) == (2, 4, 240)
    assert (found.facts, found.versions) == ({}, {})


def test_names_tell_runs_apart() -> None:
    folders = [run(Path(name), row(1)) for name in ("x/run", "y/run")]
    assert [found.name for found in read_runs(folders)] == ["x/run", "y/run"]
    with pytest.raises(UserError, match="a run is named twice"):
        read_runs([folders[0], Path("y/../x/run").resolve()])


def test_a_line_that_is_being_written_is_left_for_later() -> None:
    folder = run(Path("a"), row(1))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tr')
    assert [epoch.epoch for epoch in read_runs([folder])[0].epochs] == [1]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("metrics.jsonl", None, "holds no run: metrics.jsonl is missing"),
        ("metrics.jsonl", "", "no epoch of the run is finished"),
        ("metrics.jsonl", "{\n", "line 1, is no JSON"),
        ("metrics.jsonl", '{"epoch": 1}\n', "line 1, is no epoch's record: lr: Field required"),
        ("metrics.jsonl", json.dumps(row(1, 101)) + "\n", "less than or equal to 100"),
        ("metrics.jsonl", json.dumps(row(1, lr=float("nan"))) + "\n", "NaN is no JSON number"),
        ("recipe.toml", "[run", "recipe.toml is no valid TOML"),
        ("metrics.jsonl", "[" * 50_000 + "\n", "line 1, is no JSON"),
        ("metrics.jsonl", "\udcff\n", "line 1, is no JSON"),
    ],
)
def test_a_folder_that_is_no_sound_run(name: str, content: str | None, told: str) -> None:
    path = run(Path("a"), row(1)) / name
    path.unlink() if content is None else path.write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=told):
        read_runs([Path("a")])
