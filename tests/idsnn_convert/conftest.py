from __future__ import annotations

from pathlib import Path

import pytest

from tests.idsnn_convert import files


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command writes by default, it writes there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.teacher(tmp_path_factory.mktemp("teacher") / "tiny.th", files.PADDED)


@pytest.fixture(scope="session")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set, as ``--data`` takes it: 48 training images, 24 test images."""
    return files.data(tmp_path_factory.mktemp("data"), train=48, test=24)


@pytest.fixture(scope="session")
def student(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher converted."""
    place = tmp_path_factory.mktemp("student") / "student.safetensors"
    files.done("convert", teacher, *files.TINY, "-o", place)
    return place


@pytest.fixture(scope="session")
def trained(student: Path, teacher: Path, fashion: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs."""
    run = tmp_path_factory.mktemp("trained") / "run"
    small = ("--epochs", 2, "--set", "run.batch_size=16")
    files.done("train", student, "--teacher", teacher, "--data", fashion, "--out", run, *small)
    return run
