from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.api import convert
from idsnn_convert.normalised import Normalised, asked_normalisation, decide_normalisation, usual_normalisation
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.normalisation import KNOWN
from tests.idsnn_convert import files


def test_who_decides_a_students_normalisation(tmp_path: Path) -> None:
    """The user, else the checkpoint, else what the first batch norm remembers, else habit."""
    dataset = open_dataset(files.data(tmp_path / "data"))
    _, student = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    assert decide_normalisation(student, dataset, "half").normalisation == KNOWN["half"]
    known = student.with_tensors(student.tensors, normalisation=KNOWN["none"].to_json())
    assert decide_normalisation(known, dataset, None).normalisation == KNOWN["none"]
    habit = decide_normalisation(student, dataset, None)
    assert habit.normalisation == KNOWN["fashion-mnist"]
    assert "usual" in habit.reason


def test_the_users_choice_and_habit(tmp_path: Path) -> None:
    dataset = open_dataset(files.data(tmp_path / "data"))
    assert asked_normalisation("half", dataset) == Normalised(KNOWN["half"], "as asked")
    assert asked_normalisation("measured", dataset).reason == "over 40 training images"
    assert usual_normalisation(dataset).normalisation == KNOWN["fashion-mnist"]
    assert list(usual_normalisation(dataset).lines()) == ["fashion-mnist normalisation: the usual one for fashion-mnist"]
    with pytest.raises(UserError, match="unknown normalisation 'hal'"):
        asked_normalisation("hal", dataset)
