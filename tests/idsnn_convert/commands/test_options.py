from __future__ import annotations

from pathlib import Path

import click
import pytest

from idsnn_convert.cli import COMMANDS, main
from idsnn_convert.commands import options
from idsnn_convert.runtime.data import DATASETS
from tests.idsnn_convert.files import assert_told, run


def test_the_help_names_every_data_set() -> None:
    assert all(f"{name}:DIR" in options.DATA_HELP for name in DATASETS)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_means_the_same_in_every_command(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    found = {param.name: param for param in command.params}
    assert found["as_json"].opts == ["--json"]
    assert {"arch", "input_size"} <= found.keys() or name == "teach"  # whose arch is what to train


@pytest.mark.parametrize("option", ["--input-size", "--time-steps"])
@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_count_below_one_is_refused(option: str, value: str, teacher: Path) -> None:
    assert_told(run("convert", teacher, "--target", "resnet8", option, value), option, value)
