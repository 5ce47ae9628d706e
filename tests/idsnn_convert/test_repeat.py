from __future__ import annotations

import inspect
import shlex
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert import repeat
from idsnn_convert.api import convert
from idsnn_convert.commands.convert import command
from idsnn_convert.passes.convert import Settings
from idsnn_convert.repeat import command_of
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.neurons import Neuron
from tests.idsnn_convert import files


@pytest.mark.parametrize(
    ("teacher", "settings", "choices", "told"),
    [
        ("a/net.th", {}, {"stem": "auto", "width": 1.0, "arch": None}, "idsnn-convert net.th --target resnet8"),
        (
            "my net.th",
            {"seed": 3, "match": "x/mine.toml"},
            {"width": 0.5},
            "idsnn-convert 'my net.th' --target resnet8 --match mine.toml --seed 3 --width 0.5",
        ),
        ("timm:resnet18@a/w.pth", {}, {}, "idsnn-convert timm:resnet18@w.pth --target resnet8"),
        ("n.th", {}, {"data": "cifar10:my/c10/"}, "idsnn-convert n.th --target resnet8 --data cifar10:c10"),
    ],
)
def test_what_differs_from_the_defaults(teacher: str, settings: Any, choices: Any, told: str) -> None:
    assert command_of(teacher, "resnet8", Settings(**settings), choices) == told


def test_a_neuron_that_no_command_asks_for() -> None:
    assert command_of("net.th", "resnet8", Settings(neuron=Neuron(decay=0.5)), {}) is None


def test_the_defaults_are_those_of_convert_and_each_is_an_option() -> None:
    defaults = {name: argument.default for name, argument in inspect.signature(convert).parameters.items()}
    assert {name: defaults[name] for name in repeat._DEFAULTS} == repeat._DEFAULTS
    options = {word for option in command.params for word in option.opts}
    assert {f"--{name.replace('_', '-')}" for name in repeat._DEFAULTS} <= options


def test_the_recorded_command_gives_the_same_bytes(teacher: Path) -> None:
    Path(teacher.name).symlink_to(teacher)
    files.done("convert", teacher, *files.TINY, "--seed=5", "--scale=variance", "--input-size=28", "-o", "a")
    again = shlex.split(read(Path("a")).provenance["command"])
    assert again[0] == "idsnn-convert"
    files.done("convert", *again[1:], "-o", "b")
    assert Path("a").read_bytes() == Path("b").read_bytes()
