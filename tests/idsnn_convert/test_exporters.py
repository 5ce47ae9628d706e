from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from idsnn_convert.exporters import FLAGS, FORMATS, Options, Prepared, Source, prepared
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.spikingjelly.write import SOURCE, STATE
from tests import graphs
from tests.runtime import jelly

GRAPH, ANN = graphs.spiking(), graphs.ann()
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
STUDENT = Source("s.safetensors", Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 2), True, IMAGES)
TEACHER = Source("t.pth", Checkpoint(ANN, graphs.random_tensors(ANN), 1), False, IMAGES)
PACKAGES = {"onnx": ("onnx", "cpu"), "nir": ("nir", "nir"), "spikingjelly": ("spikingjelly", "spikingjelly")}


@pytest.fixture
def spikingjelly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in jelly.stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)


def passed(ready: Prepared) -> list[str]:
    stages = list(ready.stages)
    assert all(stage.passed for stage in stages)
    return [stage.name for stage in stages]


@pytest.mark.parametrize("to", PACKAGES)
def test_a_missing_package_comes_with_how_to_install_it(to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, extra = PACKAGES[to]
    for name in [name for name in sys.modules if name.startswith(("idsnn_convert.runtime.export.", f"{package}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs {package}.*, which is not installed") as told:
        prepared(to, STUDENT, Options())
    assert told.value.hint == f'pip install "idsnn-convert[{extra}]"'


GIVEN: dict[str, Any] = {"form": "scan", "time_steps": 2, "opset": 18, "folded": True}


@pytest.mark.parametrize(
    ("to", "option"), [(to, option) for to, row in FORMATS.items() for option in GIVEN if option not in row.options]
)
def test_an_option_a_format_has_not_is_refused(to: str, option: str) -> None:
    with pytest.raises(UserError, match=f"--{FLAGS.get(option, option)} means nothing for {to}") as told:
        prepared(to, STUDENT, Options(**{option: GIVEN[option]}))
    assert told.value.hint == "Leave it out."


def test_every_option_is_some_formats() -> None:
    assert {option for row in FORMATS.values() for option in row.options} == {each.name for each in fields(Options)}


def test_a_teacher_is_no_spiking_network(spikingjelly: None) -> None:
    for to in ("nir", "spikingjelly"):
        with pytest.raises(UserError, match="is a teacher") as told:
            prepared(to, TEACHER, Options())
        assert told.value.hint == "Convert it first."


def test_a_node_without_a_form_is_refused_by_name(spikingjelly: None) -> None:
    node = replace(GRAPH["flatten"], op="activation", inputs=("avgpool",), attrs={"kind": "relu"}, shape=GRAPH["avgpool"].shape)
    nodes = [node if each.name == "flatten" else each for each in GRAPH]
    relu = replace(STUDENT, checkpoint=replace(STUDENT.checkpoint, graph=type(GRAPH)(tuple(nodes))))
    for to in ("nir", "spikingjelly"):
        with pytest.raises(UserError, match=r"'flatten' \(activation\)"):
            prepared(to, relu, Options())


def test_a_program_holds_the_time_steps_asked_for(tmp_path: Path) -> None:
    ready = prepared("pt2", STUDENT, Options(time_steps=3, folded=False))
    assert passed(ready) == ["Loaded again", "Beside the runtime"]
    ready.write(tmp_path / "x.pt2")
    _, per_step = torch.export.load(tmp_path / "x.pt2").module()(IMAGES)
    assert per_step.shape == (3, 4, graphs.CLASSES)


def test_a_teacher_is_a_program_too() -> None:
    assert passed(prepared("pt2", TEACHER, Options())) == ["Loaded again", "Beside the runtime"]
    with pytest.raises(UserError, match="--time-steps means nothing for a teacher"):
        prepared("pt2", TEACHER, Options(time_steps=3))


@pytest.mark.parametrize(("folded", "norms"), [(None, True), (True, False)])
def test_spikingjelly_keeps_its_norms_unless_told(spikingjelly: None, tmp_path: Path, folded: bool | None, norms: bool) -> None:
    ready = prepared("spikingjelly", STUDENT, Options(folded=folded))
    assert passed(ready) == ["Loaded", "End to end"]
    ready.write(tmp_path)
    assert ("BatchNorm2d" in (tmp_path / SOURCE).read_text()) is norms
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FORMATS["spikingjelly"].files) == [SOURCE, STATE]
