from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.load.exported import is_plain_expression, read_program
from idsnn_convert.passes.trace import exported
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from tests.passes.load.hostile import Hostile
from tests.passes.replicas import lively

IMAGES = torch.randn(2, 3, 8, 8)
MODEL = "program/models/model.json"
SAMPLE = "program/data/sample_inputs/model.pt"
WEIGHTS = "program/data/weights/model_weights_config.json"


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)))


@pytest.fixture(scope="module")
def program(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "program.pt2"
    torch.export.save(exported(module, (3, 8, 8)), path)
    return path


@pytest.fixture
def changed(program: Path, tmp_path: Path) -> Callable[[dict[str, Callable[[bytes], bytes]]], Path]:
    """The program with some records changed, made anew."""

    def change(records: dict[str, Callable[[bytes], bytes]]) -> Path:
        path = tmp_path / "changed.pt2"
        with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
            for name in {**dict.fromkeys(old.namelist()), **records}:
                data = old.read(name) if name in old.namelist() else b""
                new.writestr(name, records[name](data) if name in records else data)
        return path

    return change


def edited(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return edit


def first_node(content: Any) -> Any:
    return content["graph_module"]["graph"]["nodes"][0]


def test_a_program_is_read_with_its_own_graph(program: Path, module: nn.Module, tmp_path: Path) -> None:
    shutil.copy(program, tmp_path / "teacher.pth")  # the name says nothing
    teacher = load_teacher(tmp_path / "teacher.pth")
    assert (teacher.form, teacher.family, teacher.input_shape) == ("exported program", "torch.export program", (3, 8, 8))
    assert {*teacher.keys.values(), *teacher.unread} == set(module.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(build(teacher.graph, teacher.tensors).eval()(IMAGES), module(IMAGES))


def test_an_untouched_copy_passes(changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    assert len(read_program(changed({})).graph.nodes) > 5
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "0"
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    read_program(changed({}))
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_other_images_are_refused(program: Path) -> None:
    assert load_teacher(program, input_size=8).input_shape == (3, 8, 8)
    with pytest.raises(UserError, match=r"program\.pt2: it was exported for 8x8 images, not for 32x32"):
        load_teacher(program, input_size=32)


@pytest.mark.parametrize("record", [SAMPLE, "program/data/weights/model.pt", "program/data/constants/model.pt"])
def test_a_hostile_pickle_is_refused_and_not_run(record: str, changed: Callable[..., Path], tmp_path: Path) -> None:
    torch.save((Hostile(tmp_path / "made"),), tmp_path / "bait")
    path = changed({record: lambda data: (tmp_path / "bait").read_bytes()})
    with pytest.raises(UserError, match=r"other Python objects than tensors\. Nothing was executed"):
        load_teacher(path)
    assert not (tmp_path / "made").exists()


def test_hostile_sizes_are_refused_and_not_evaluated(changed: Callable[..., Path], tmp_path: Path) -> None:
    bait = f"__import__('os').mkdir({str(tmp_path / 'made')!r})"

    def bite(content: Any) -> None:
        sizes = content["graph_module"]["graph"]["tensor_values"]
        next(iter(sizes.values()))["sizes"][0] = {"as_expr": {"expr_str": bait, "hint": None}}

    with pytest.raises(UserError, match="which is no plain arithmetic"):
        load_teacher(changed({MODEL: edited(bite)}))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: first_node(c).update(target="torch.hub.load"), "a call of 'torch.hub.load', which is no plain"),
        (lambda c: first_node(c).update(target="torch.ops.aten.from_file.default"), "a call of 'torch.ops.aten.from_file"),
        (lambda c: first_node(c).update(target="#mine:op"), "a call of '#mine:op'"),
        (lambda c: first_node(c)["inputs"][0].update(name="x=print()"), r"the name 'x=print\(\)'"),
        (lambda c: c["graph_module"]["graph"]["tensor_values"].update({"x): import os": {}}), r"the name 'x\): import os'"),
        (
            lambda c: c["graph_module"]["module_call_graph"][0]["signature"].update(in_spec='[1, {"__enum__": 1}]'),
            "arguments that name Python objects",
        ),
    ],
)
def test_a_graph_that_could_run_code_is_refused(change: Any, message: str, changed: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=message) as told:
        load_teacher(changed({MODEL: edited(change)}))
    assert "Nothing was executed\nSave its weights alone where it was made" in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_pickle": True}, "pickled weights, says 'data/weights/model_weights_config.json'"),
        ({"path_name": "custom_obj_0"}, "an object of another class, 'custom_obj_0'"),
        ({"path_name": "../weight_0"}, "an object of another class"),
    ],
)
def test_weights_that_are_more_than_tensors_are_refused(change: Any, message: str, changed: Callable[..., Path]) -> None:
    path = changed({WEIGHTS: edited(lambda content: next(iter(content["config"].values())).update(change))})
    with pytest.raises(UserError, match=message):
        load_teacher(path)


@pytest.mark.parametrize(
    "record", ["data/constants/custom_obj_0", "data/constants/opaque_obj_0", "data/aotinductor/model/a.so", "models/../x.py"]
)
def test_a_record_that_no_plain_program_has_is_refused(record: str, changed: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=f"the record '{record}', which is compiled code or an object of another class"):
        load_teacher(changed({f"program/{record}": lambda data: pickle.dumps(1)}))


def test_two_programs_and_foreign_folders_are_refused(program: Path, changed: Callable[..., Path]) -> None:
    with zipfile.ZipFile(program) as archive:
        model = archive.read(MODEL)
    with pytest.raises(UserError, match="it holds 2 programs: model, other\nExport the teacher alone"):
        load_teacher(changed({"program/models/other.json": lambda data: model}))
    with pytest.raises(UserError, match="records outside its folder, such as 'version'"):
        load_teacher(changed({"version": lambda data: b"8.0"}))


def test_a_damaged_program_is_refused(changed: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="cut short or damaged"):
        load_teacher(changed({MODEL: lambda data: data[:100]}))
    with pytest.raises(UserError, match=r"torch .* cannot read this torch\.export program"):
        load_teacher(changed({MODEL: edited(lambda content: content.pop("graph_module"))}))
    with pytest.raises(UserError, match="cut short or damaged"):
        read_program(Path(__file__))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Mul(Add(FloorDiv(Add(Symbol('s0', integer=True), Integer(-1)), Integer(2)), Integer(1)), Symbol('u1'))", True),
        ("__import__('os')", False),
        ("Symbol('s0').__class__", False),
        ("Symbol('os.system')", False),
        ("Integer('1')", False),
        ("Lambda(Symbol('x1'), 2)", False),
        ("Add(open)", False),
        ("Add(Integer)", False),
        ("9**9**9", False),
    ],
)
def test_plain_expressions(text: str, plain: bool) -> None:
    assert is_plain_expression(text) is plain
