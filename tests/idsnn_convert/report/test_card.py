from __future__ import annotations

from pathlib import Path

from idsnn_convert.report.build import recorded
from idsnn_convert.report.card import UNSTATED, card
from idsnn_convert.runtime.checkpoint import read


def test_a_conversion_that_nobody_measured_says_so(student: Path) -> None:
    text = card(recorded(read(student), student))
    head = text.split("---\n")[1].splitlines()
    assert head[0] == 'library_name: "idsnn-convert"'
    assert not any(line.startswith(("license", "datasets")) for line in head)
    assert UNSTATED in text
    assert "Not measured." in text
    assert "Not trained since it was converted." in text
    assert "Teacher: `tiny.th`" in text


def test_training_tells_data_recipe_and_accuracy(trained: Path) -> None:
    text = card(recorded(read(trained / "best.safetensors")), licence="mit")
    assert 'datasets: ["fashion-mnist"]' in text
    assert "Trained on 48 images of fashion-mnist." in text
    assert "test images during training, stopped after T steps" in text
    assert '"epochs": 2' in text
    assert "| 1 | " in text


def test_no_text_of_others_becomes_more_than_text(student: Path) -> None:
    checkpoint = read(student)
    record = recorded(checkpoint)
    teacher = record.teacher.model_copy(update={"file": "a`|\n---\nlicense: mit\n<b>", "family": "[x](http://x)"})
    text = card(record.model_copy(update={"teacher": teacher}), licence="mit\nextra: 1")
    front = text.split("---\n")[1]
    assert 'license: "mit\\nextra: 1"' in front
    assert "\nextra" not in front
    assert "\nlicense: mit\n" not in text
    assert "\\[x\\]" in text
