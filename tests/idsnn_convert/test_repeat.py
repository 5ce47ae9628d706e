from __future__ import annotations

import inspect
import shlex
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert import repeat
from idsnn_convert.api import convert
from idsnn_convert.balance import Balancing
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
    for neuron in (Neuron(damping=0.3), Neuron(learn_decay=True)):
        assert command_of("net.th", "resnet8", Settings(neuron=neuron), {}) is None


@pytest.mark.parametrize(
    ("neuron", "told"),
    [
        (Neuron(decay=0.5), "--decay 0.5"),
        (Neuron("if", decay=1.0), "--neuron if"),
        (Neuron("if", 2.0, 1.0, "soft", "arctan", 0.25), "--neuron if --v-threshold 2.0 --reset soft --surrogate arctan "
         "--surrogate-width 0.25"),
    ],
)  # fmt: skip
def test_a_neuron_is_asked_for_by_what_it_differs_in(neuron: Neuron, told: str) -> None:
    assert command_of("n.th", "resnet8", Settings(neuron=neuron), {}) == f"idsnn-convert n.th --target resnet8 {told}"


def test_balancing_is_asked_for_too() -> None:
    settings, choices = Settings(neuron=Neuron("if", decay=1.0)), {"data": "cifar10:my/c10"}
    told = command_of("n.th", "same", settings, choices, Balancing("percentile:99", curve=50))
    words = "--data cifar10:c10 --neuron if --balance percentile:99 --curve 50"
    assert told == f"idsnn-convert n.th --target same {words}"


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
