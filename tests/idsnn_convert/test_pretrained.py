from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from idsnn_convert.measure import measure_energy
from idsnn_convert.pretrained import measured, save_pretrained, stages, write_folder
from idsnn_convert.runtime.checkpoint import read, save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.pretrained import CARD, FILES, MAPPING, WEIGHTS, from_pretrained
from tests.idsnn_convert.files import assert_told, done, run


def test_a_student_is_saved_with_its_mapping_and_card(student: Path, tmp_path: Path) -> None:
    place = save_pretrained(student, tmp_path / "out", licence="mit")
    assert from_pretrained(place).mapping == read(student).mapping
    mapping = json.loads((place / MAPPING).read_text())
    assert (mapping["kind"], mapping["student"]["name"]) == ("mapping", WEIGHTS)
    assert 'license: "mit"' in (place / CARD).read_text()
    with pytest.raises(UserError, match="out exists"):
        save_pretrained(student, place)


def test_what_was_measured_stands_in_the_card(student: Path, fashion: str, tmp_path: Path) -> None:
    found = measure_energy(student, fashion, limit=8)
    text = (save_pretrained(read(student), tmp_path / "out", measured=found, data="fashion-mnist") / CARD).read_text()
    assert "first 8 test images of fashion-mnist" in text
    assert f"{found.work.dense_macs:,} multiply-accumulates" in text


def test_its_own_measure_is_that_of_the_energy_command(student: Path) -> None:
    batches = [(torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]))]
    found = measured(read(student), batches, "half")
    assert (found.work.images, found.normalisation) == (2, "half")


def test_a_folder_that_reads_back_otherwise_fails(student: Path) -> None:
    checkpoint = read(student)
    (good,) = stages(checkpoint, lambda folder: write_folder(folder, checkpoint), None)
    assert good.passed
    other = replace(checkpoint, tensors={name: -tensor for name, tensor in checkpoint.tensors.items()})
    (bad,) = stages(checkpoint, lambda folder: write_folder(folder, other), None)
    assert not bad.passed


def test_the_command(trained: Path, teacher: Path, fashion: str) -> None:
    best = trained / "best.safetensors"
    out = done("export", best, "--to", "folder", "--licence", "cc-by-4.0", "--data", fashion, "--limit", 10, "-o", "hub").stdout
    assert "passed  Read back" in out
    assert "passed  Measured for its card: top-1" in out
    assert sorted(path.name for path in Path("hub").iterdir()) == sorted(FILES)
    done("evaluate", "hub/model.safetensors", "--data", fashion, "--limit", 5)
    assert_told(run("export", best, "--to", "folder", "-o", "hub"), "hub exists")
    assert_told(run("export", best, "--to", "folder", "--opset", 18), "--opset means nothing for folder")
    assert_told(run("export", teacher, "--to", "folder"), "is a teacher")


def test_a_disk_that_is_full_leaves_no_folder(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    checkpoint = read(student)
    monkeypatch.setattr("idsnn_convert.pretrained.write_pretrained", full)
    with pytest.raises(UserError, match="No space left"):
        save_pretrained(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save(tmp_path / "still.safetensors", checkpoint)
