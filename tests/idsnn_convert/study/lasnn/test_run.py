from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.passes.convert import Settings
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import Dataset, open_dataset
from idsnn_convert.runtime.details import DetailedEvaluation
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.firing import LayerFiring
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.study.lasnn import plan
from idsnn_convert.study.lasnn import run as runs
from idsnn_convert.study.lasnn.run import LasnnMaterials, run_lasnn
from tests.idsnn_convert import files
from tests.idsnn_convert.study.test_run import Watched


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    small = plan.SCALES["small"]
    few = {"train_images": 16, "test_images": 8, "final_images": 12, "balance_images": 8, "balance_steps": 4}
    arms = (*small.arms, "network.time_steps=2", "run.batch_size=8")
    monkeypatch.setitem(plan.SCALES, "small", replace(small, epochs=1, ann_epochs=1, long=3, arms=arms, **few))


@pytest.fixture
def materials(teacher: Path, fashion: str, tmp_path: Path) -> LasnnMaterials:
    return LasnnMaterials(open_dataset(fashion), teacher, "conv3-fc2", tmp_path / "study", width=0.0625, compiled=False)


class Trainer:
    """Stands in for training and evaluation, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[tuple[str, Any, bool]] = []
        self.measured: list[str] = []
        monkeypatch.setattr(runs, "teach", self.teach)
        monkeypatch.setattr(runs, "train_file", self.train)
        monkeypatch.setattr(runs, "evaluate_file", self.evaluate)
        monkeypatch.setattr(runs, "_balanced", lambda study, job, place: place.touch())
        monkeypatch.setattr(runs, "step_bytes", lambda *_: 3 * 2**20)

    def teach(self, arch: str, data: Dataset, out: Path, **options: Any) -> None:
        self.train(Path(arch), data, out, teacher=None, **options)

    def train(self, student: Path, data: Dataset, out: Path, **options: Any) -> None:
        self.trained.append((out.name, options["teacher"], options["resume"]))
        epochs = load_recipe(options["recipe"], options["overrides"]).run.epochs
        line = {"test_top1_percent": 30.0, "train_ce": 2.0, "train_seconds": 1.0, "test_seconds": 1.0}
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.jsonl").write_text((json.dumps(line) + "\n") * epochs)

    def evaluate(self, path: Path, data: Dataset, **options: Any) -> tuple[Evaluation, Any]:
        self.measured.append(path.parent.name)
        steps = options.get("time_steps") or 2
        if not options.get("details"):
            return Evaluation(33.0, 1.0, 12, 1.0, (33.0,) * steps), None
        firing = (LayerFiring("if_1", (4, 2, 2), 0.25, 0.0, 0.0),)
        return DetailedEvaluation(33.0, 1.0, 12, 1.0, (33.0,) * steps, firing=firing), None


def test_every_run_is_asked_of_the_trainer_as_planned(
    materials: LasnnMaterials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, watched = Trainer(monkeypatch), Watched()
    other = files.teacher(tmp_path / "other.pth", replace(files.SPEC, depths=(1, 1, 1)))
    found = run_lasnn(replace(materials, others=(other,)), seeds=1, progress=watched)
    first, second = found["teachers"]
    hybrid = materials.out / "runs" / "hybrid-alone-0" / "last.safetensors"
    assert trainer.trained == [
        ("ann-conv3-fc2-0", None, False),
        ("hybrid-alone-0", None, False),
        (f"label-kd-{first}-0", materials.teacher, False),
        ("spike-kd-hybrid-0", hybrid, False),
        (f"lasnn-{first}-0", materials.teacher, False),
        (f"lasnn-gradient-{first}-0", materials.teacher, False),
        (f"lasnn-{second}-0", other, False),
    ]
    assert watched.went == watched.ended == [name for name, *_ in trainer.trained]
    rows = {(row["arm"], row["teacher"]): row for row in found["rows"]}
    assert rows["hybrid", None]["layers"][0]["spikes"]["mean"] == 0.5  # a rate of 1/4 over two steps
    assert (rows["hybrid", None]["step_mib"], rows["lasnn", first]["step_mib"]) == (3.0, 3.0)
    assert rows["converted", None]["top1"]["mean"] == 33.0
    assert found["converted_by_step"]["mean"] == [33.0] * 3
    assert found["normalisation"] == "half"
    assert json.loads(json.dumps(found)) == found


def test_a_study_goes_on_where_it_stopped(materials: LasnnMaterials, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(monkeypatch)
    first = run_lasnn(materials, arms=["hybrid", "lasnn"], seeds=1, progress=Watched())
    lasnn = next(path for path in (materials.out / "runs").iterdir() if path.name.startswith("lasnn"))
    (lasnn / "metrics.jsonl").write_text("")
    (lasnn / "state.safetensors").touch()
    (materials.out / "runs" / "hybrid-alone-0" / "final.json").unlink()
    trainer.trained, trainer.measured = [], []
    assert run_lasnn(materials, arms=["hybrid", "lasnn"], seeds=1, progress=Watched()) == first
    assert [(name, resume) for name, _, resume in trainer.trained] == [(lasnn.name, True)]
    assert trainer.measured == ["hybrid-alone-0"]


def test_a_student_is_converted_with_thresholds_of_its_own(materials: LasnnMaterials, tmp_path: Path) -> None:
    """The whole way, without a stand-in."""
    found = run_lasnn(materials, arms=["lasnn"], seeds=1, progress=Watched())
    student = read(materials.out / "students" / "seed-0.safetensors")
    assert len({row["v_threshold"] for row in student.neurons}) == len(student.neurons) == 4
    assert student.mapping["balance"]["rule"] == plan.SCALES["small"].balance
    assert {row["kind"] for row in student.neurons} == {"if"}
    assert [row["arm"] for row in found["rows"]] == ["ann", "converted", "lasnn"]
    assert found["rows"][2]["step_mib"] > 0
    assert len(found["rows"][1]["layers"]) == 4
    assert Settings().time_steps != student.time_steps == 2


def test_a_folder_holds_one_study(materials: LasnnMaterials, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer(monkeypatch)
    run_lasnn(materials, arms=["hybrid"], seeds=1, progress=Watched())
    with pytest.raises(UserError, match=r"student.width = 0.0625, not 1.0"):
        run_lasnn(replace(materials, width=1.0), arms=["hybrid"], seeds=1, progress=Watched())


def test_teachers_that_cannot_be_told_apart(materials: LasnnMaterials) -> None:
    twice = (materials.teacher, materials.teacher)
    with pytest.raises(UserError, match="two teachers are called 'tiny'"):
        run_lasnn(replace(materials, others=twice), progress=Watched())
    assert not materials.out.exists()


def test_a_study_of_several_processes_is_refused(materials: LasnnMaterials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "started_together", lambda: True)
    with pytest.raises(UserError, match="one after the other"):
        run_lasnn(materials, progress=Watched())
