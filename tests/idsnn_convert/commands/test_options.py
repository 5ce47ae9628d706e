from __future__ import annotations

from pathlib import Path

import click
import pytest

from idsnn_convert.cli import COMMANDS, main
from idsnn_convert.commands import options
from idsnn_convert.runtime.data import DATASETS, SOURCES
from tests.idsnn_convert.files import assert_told, done, run
from tests.runtime.data import images


def test_the_help_names_every_data_set() -> None:
    assert all(f"{name}:DIR" in options.DATA_HELP for name in (*DATASETS, *SOURCES))


WITHOUT_TEACHER = ("teach", "energy", "report")
"""Commands that read no teacher's file; the arch of ``teach`` is what to train."""


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_means_the_same_in_every_command(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    found = {param.name: param for param in command.params}
    assert found["as_json"].opts == ["--json"]
    assert {"arch", "input_size"} <= found.keys() or name in WITHOUT_TEACHER


@pytest.mark.parametrize("option", ["--input-size", "--time-steps"])
@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_count_below_one_is_refused(option: str, value: str, teacher: Path) -> None:
    assert_told(run("convert", teacher, "--target", "resnet8", option, value), option, value)


def test_image_files_are_read_as_the_options_say(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    images.folder(tmp_path / "set", train=10, test=3, height=12, width=9)
    data = ("--data", f"folder:{tmp_path / 'set'}")
    small = ("--arch", "resnet8", "--width", 0.25, "--epochs", 1, "--set", "run.batch_size=10", "--out", tmp_path / "run")
    assert_told(run("teach", *data, *small), "must be square and of one size", "--image-size")
    asked = ("--image-size", 8, "--channels", 1, "--memory", 0, "--workers", 2)
    told = done("teach", *data, *small, *asked).stderr
    assert "resnet8 for images of 1x8x8, 2 classes" in told
    assert "measured normalisation: over 20 training images" in told
    found = done("evaluate", tmp_path / "run" / "best.safetensors", *data, *asked)
    assert "6 images, measured normalisation" in found.stdout


def test_a_set_of_one_form_takes_no_other(fashion: str, teacher: Path) -> None:
    assert_told(run("evaluate", teacher, "--data", fashion, "--image-size", 32), "fashion-mnist are read as they are")
