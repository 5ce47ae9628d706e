"""One teacher in every form: the same blocks, and the same student to the bit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from idsnn_convert.passes.convert import Settings, convert
from idsnn_convert.passes.load import load_teacher, teacher_from_module
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.trace import exported
from idsnn_convert.passes.types import Target, Teacher
from tests.passes.families.renamed import lively
from tests.passes.made import network, spec

TEACHER = spec((1, 2))
IMAGES = torch.zeros(2, *TEACHER.input_shape)


def write_script(module: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript; its files remain
        torch.jit.trace(module, IMAGES).save(str(path))


WRITE: dict[str, Callable[[nn.Module, Path], Any]] = {
    "state dict": lambda module, path: torch.save(module.state_dict(), path),
    "TorchScript": write_script,
    "exported program": lambda module, path: torch.export.save(exported(module, TEACHER.input_shape), path),
}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Teacher]:
    module, folder = lively(TEACHER).eval(), tmp_path_factory.mktemp("forms")
    found = {"live module": teacher_from_module(module, input_shape=TEACHER.input_shape)}
    for form, write in WRITE.items():
        path = folder / f"{form.replace(' ', '_')}.pt2"
        write(module, path)
        found[form] = load_teacher(path, input_size=TEACHER.input_size)
    return found


def described(teacher: Teacher) -> Any:
    """Its blocks without names: the operations and shapes of every part."""
    cut, graph = segment(teacher.graph), teacher.graph
    parts = [cut.stem, *(part for block in cut.blocks for part in (block.branch, block.shortcut, block.after)), cut.head]
    depths = [len(stage.blocks) for stage in cut.stages]
    return depths, [[(graph[name].op, graph[name].shape, dict(graph[name].attrs)) for name in part] for part in parts]


def test_every_form_is_read_as_what_it_is(teachers: dict[str, Teacher]) -> None:
    assert {form: teacher.form for form, teacher in teachers.items()} == {form: form for form in teachers}
    assert all(teacher.input_shape == TEACHER.input_shape for teacher in teachers.values())


@pytest.mark.parametrize("form", ["live module", "TorchScript", "exported program"])
def test_every_form_gives_the_same_blocks_and_the_same_student(teachers: dict[str, Teacher], form: str) -> None:
    plain, other = teachers["state dict"], teachers[form]
    assert described(other) == described(plain)
    target = Target("thin", network(spec((2, 1), (6, 8))).graph, {})
    wanted = convert(plain, target, Settings(), {}).checkpoint
    found = convert(other, target, Settings(), {}).checkpoint
    assert [row["source"] for row in found.mapping["tensors"]] == [row["source"] for row in wanted.mapping["tensors"]]
    assert any(row["source"] for row in wanted.mapping["tensors"])
    assert list(found.tensors) == list(wanted.tensors)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in wanted.tensors.items())
