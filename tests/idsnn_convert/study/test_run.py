from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import Dataset, open_dataset
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.study import run as runs
from idsnn_convert.study.outcome import Outcome
from idsnn_convert.study.plan import Job
from idsnn_convert.study.run import Materials, run_study


class Watched:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[list[int], list[int]]] = []
        self.went, self.ended = [], []  # type: list[str], list[str]

    def begin(self, epochs: list[int], done: list[int]) -> None:
        self.begun.append((list(epochs), list(done)))

    def run(self, job: Job) -> None:
        self.went.append(job.folder)

    def finished(self, found: Outcome) -> None:
        self.ended.append(f"{found.arm}-{found.schedule}-{found.seed}")

    def batch(self, *_: Any) -> None: ...
    def epoch(self, record: Any) -> None: ...


class Trainer:
    """Stands in for training and evaluation: writes the metrics of all epochs at once, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[Path, Path, dict[str, Any]]] = []
        self.measured: list[Path] = []
        monkeypatch.setattr(runs, "train_file", self.train)
        monkeypatch.setattr(runs, "evaluate_file", self.evaluate)

    def train(self, student: Path, data: Dataset, out: Path, **options: Any) -> None:
        self.asked.append((student, out, options))
        options["told"]("the same of every run")
        epochs = load_recipe(options["recipe"], options["overrides"]).run.epochs
        line = {"test_top1_percent": 30.0, "train_ce": 2.0, "train_seconds": 1.0, "test_seconds": 1.0}
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.jsonl").write_text((json.dumps(line) + "\n") * epochs)

    def evaluate(self, path: Path, data: Dataset, **options: Any) -> tuple[Evaluation, Any]:
        from idsnn_convert.normalised import Normalised
        from idsnn_convert.runtime.normalisation import KNOWN

        self.measured.append(path)
        return Evaluation(33.0, 1.0, 24, 1.0), Normalised(KNOWN["half"], "as asked")


@pytest.fixture
def materials(teacher: Path, fashion: str, tmp_path: Path) -> Materials:
    return Materials(open_dataset(fashion), teacher, "resnet8", tmp_path / "study")


def test_every_run_is_asked_of_the_trainer_as_planned(materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, watched = Trainer(monkeypatch), Watched()
    said: list[str] = []
    found = run_study("ablation", materials, seeds=2, limit_train=32, limit_test=8, progress=watched, told=said.append)
    assert watched.begun == [([6] * 8, [0] * 8)]
    assert watched.went == watched.ended == [out.name for _, out, _ in trainer.asked]
    assert {options["limit_train"] for *_, options in trainer.asked} == {32}
    assert {options["limit_test"] for *_, options in trainer.asked} == {8}
    assert {options["teacher"] for *_, options in trainer.asked} == {materials.teacher}
    assert {options["resume"] for *_, options in trainer.asked} == {False}
    assert [path.parent.name for path in trainer.measured[1:]] == watched.went
    assert said == ["the same of every run"]
    assert found["rows"][0]["top1"]["mean"] == 33.0
    assert (found["train_images"], found["test_images_each_epoch"], found["teacher"]["top1_percent"]) == (32, 8, 33.0)
    assert json.loads(json.dumps(found)) == found


def test_runs_that_distill_share_the_teachers_logits(
    materials: Materials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, tuple[object, object]] = {}
    for out, changes in (("one", {}), ("two", {"teacher_cache": Path("kept"), "teacher_cache_gib": 0.5})):
        trainer, here = Trainer(monkeypatch), replace(materials, out=tmp_path / out, **changes)
        run_study("ablation", here, seeds=1, progress=Watched())
        asked |= {f"{out} {run.name}": (of["teacher_cache"], of["teacher_cache_gib"]) for _, run, of in trainer.asked}
    own, gib = tmp_path / "one" / "teacher-cache", 4.0
    assert asked == {
        "one neither-long-0": (None, gib),
        "one init-long-0": (None, gib),
        "one kd-long-0": (own, gib),
        "one both-long-0": (own, gib),
        "two neither-long-0": (None, 0.5),
        "two init-long-0": (None, 0.5),
        "two kd-long-0": (Path("kept"), 0.5),
        "two both-long-0": (Path("kept"), 0.5),
    }


def test_a_named_student_is_converted_once_a_seed_with_a_fresh_head(
    materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch)
    run_study("ablation", replace(materials, student="same"), arms=["both", "init"], seeds=2, progress=Watched())
    students = [student for student, *_ in trainer.asked]
    assert students[0] == students[1] != students[2] == students[3]
    first, second = read(students[0]), read(students[2])
    (head,) = (name for name in first.tensors if name.endswith("weight") and first.tensors[name].ndim == 2)
    assert (first.tensors[head] != second.tensors[head]).any()
    copied = [row["target"] for row in first.mapping["tensors"] if row["source"] is not None]
    assert len(copied) > 20
    assert all((first.tensors[name] == second.tensors[name]).all() for name in copied)


def test_a_checkpoint_is_the_student_of_every_seed(
    materials: Materials, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch)
    found = run_study("ablation", replace(materials, student=str(student)), arms=["both"], seeds=2, progress=Watched())
    assert [asked[0] for asked in trainer.asked] == [student, student]
    assert found["student"].keys() == {"target", "time_steps", "file", "sha256"}


def test_a_study_goes_on_where_it_stopped(materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished runs are kept, one with a state is resumed, one that is trained but not measured is measured."""
    trainer = Trainer(monkeypatch)
    first = run_study("ablation", materials, seeds=1, progress=Watched())
    folder = materials.out / "runs"
    lines = (folder / "kd-long-0" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "kd-long-0" / "metrics.jsonl").write_text("".join(lines[:2]))
    (folder / "kd-long-0" / "state.safetensors").touch()
    (folder / "both-long-0" / "final.json").unlink()
    trainer.asked, trainer.measured, watched = [], [], Watched()
    second = run_study("ablation", materials, seeds=1, progress=watched)
    assert watched.begun == [([6] * 4, [6, 6, 2, 6])]
    assert watched.ended == ["neither-long-0", "init-long-0", "kd-long-0", "both-long-0"]
    assert [(out.name, options["resume"]) for _, out, options in trainer.asked] == [("kd-long-0", True)]
    assert [path.parent.name for path in trainer.measured] == ["both-long-0"]
    assert second == first


def test_both_studies_share_their_runs_and_more_seeds_add_to_them(
    materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch)
    run_study("convergence", materials, seeds=1, progress=Watched())
    assert len(trainer.asked) == 9
    assert len(trainer.measured) == 1  # the teacher; curves need no more
    run_study("ablation", materials, seeds=1, progress=Watched())
    assert [out.name for _, out, _ in trainer.asked[9:]] == ["init-long-0"]
    run_study("ablation", materials, seeds=2, progress=Watched())
    assert {out.name for _, out, _ in trainer.asked[10:]} == {f"{arm}-long-1" for arm in ("neither", "init", "kd", "both")}


def test_a_folder_holds_one_study(materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer(monkeypatch)
    run_study("ablation", materials, arms=["both"], seeds=1, progress=Watched())
    for changes, told in (
        ({"limit_train": 16}, "train_images = 48, not 16"),
        ({"recipe": "idsnn"}, "recipe = 'idsnn-fast', not 'idsnn'"),
        ({"overrides": ["optimizer.lr=0.2"]}, "settings.optimizer.lr = 0.1, not 0.2"),
        ({"scale": "paper"}, "scale = 'small', not 'paper'"),
    ):
        with pytest.raises(UserError, match=told):
            run_study("ablation", materials, arms=["both"], seeds=1, progress=Watched(), **changes)
    (materials.out / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json cannot be read"):
        run_study("ablation", materials, seeds=1, progress=Watched())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"student": "resnt8"}, "resnt8"),
        ({"teacher": Path("missing.th")}, "no such file"),
    ],
)
def test_what_cannot_be_studied_leaves_no_folder(materials: Materials, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        run_study("ablation", replace(materials, **changes), progress=Watched())
    assert not materials.out.exists()


def test_a_folder_that_cannot_be_made_is_told(materials: Materials, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to"):
        run_study("ablation", replace(materials, out=tmp_path / "file" / "study"), progress=Watched())


def test_a_study_of_several_processes_is_refused(materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "started_together", lambda: True)
    with pytest.raises(UserError, match="one after the other"):
        run_study("ablation", materials, progress=Watched())
