from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from idsnn_convert.learn import evaluate_file
from idsnn_convert.probe import picture, probe_run
from idsnn_convert.report.probed import Probed
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.errors import UserError


@pytest.fixture(scope="module")
def probed(trained: Path, teacher: Path, fashion: str) -> Probed:
    return probe_run(trained, fashion, teacher=teacher, image=3, limit=12, seed=5, device="cpu")


def test_one_pass_of_a_runs_best_network(probed: Probed, trained: Path, fashion: str) -> None:
    found, _ = evaluate_file(trained / "best.safetensors", fashion, limit=12, device="cpu")
    assert (probed.top1_percent, probed.images, probed.time_steps, probed.seed) == (found.top1, 12, 2, 5)
    assert sum(map(sum, probed.confusion)) == 12
    assert probed.energy is not None
    assert probed.energy.points[-1].top1_percent == pytest.approx(found.top1)
    assert [layer.spiking for layer in probed.energy.layers[:2]] == [False, True]
    assert probed.class_name(0) == "T-shirt/top"
    best = json.loads((trained / "metrics.jsonl").read_text().splitlines()[probed.epoch - 1])
    assert best["test_top1_percent"] == max(
        json.loads(line)["test_top1_percent"] for line in (trained / "metrics.jsonl").read_text().splitlines()
    )


def test_the_teacher_is_measured_on_the_runs_images(probed: Probed, teacher: Path, fashion: str) -> None:
    assert probed.teacher is not None
    assert (probed.teacher.file, probed.teacher.images) == (teacher.name, 24)
    found, _ = evaluate_file(teacher, fashion, normalisation="fashion-mnist", device="cpu")
    assert probed.teacher.top1_percent == pytest.approx(found.top1)


def test_the_image_and_its_neurons(probed: Probed, fashion: str) -> None:
    assert probed.image is not None
    assert probed.image.index == 3
    assert probed.image.label == int(open_dataset(fashion).test.labels[3])
    assert len(probed.image.answers) == 5
    assert probed.image.label in {answer.label for answer in probed.image.answers}
    assert all(len(answer.per_step) == 2 for answer in probed.image.answers)
    assert [trace.name for trace in probed.image.layers] == [row.name for row in probed.firing]
    for trace in probed.image.layers:
        assert [[u > trace.v_threshold for u in row] for row in trace.potentials] == trace.spikes


def test_a_large_image_is_thinned() -> None:
    assert picture(torch.zeros(1, 200, 100, dtype=torch.uint8))[16:24] == (25).to_bytes(4, "big") + (50).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("folder", "image", "told"),
    [("nowhere", 0, "holds no trained network: best.safetensors is missing"), (None, 24, "there is no test image 24")],
)
def test_what_cannot_be_measured(folder: str | None, image: int, told: str, trained: Path, fashion: str) -> None:
    with pytest.raises(UserError, match=told):
        probe_run(folder or trained, fashion, image=image)
