from __future__ import annotations

from pathlib import Path

import torch

from idsnn_convert.api import convert
from idsnn_convert.passes.convert import Settings
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.study.lasnn.memory import peak_bytes, step_bytes
from tests.idsnn_convert import files

CPU = torch.device("cpu")


def test_what_is_alive_at_once_by_hand() -> None:
    def step() -> None:
        x = torch.ones(1000)
        y = x + x  # 8,000 bytes
        del x
        z = y.view(10, 100).t()  # no new ones
        y.add_(1)
        torch.ones(500)  # 2,000 more, gone at once
        del y, z

    assert peak_bytes(step, CPU) == 8000


def test_what_was_there_before_does_not_count() -> None:
    weight = torch.ones(1000, requires_grad=True)
    assert peak_bytes(lambda: weight.sum().backward(), CPU) < 4000 + 100  # the gradient, or a view of a single one


def test_memory_of_a_training_step(tmp_path: Path) -> None:
    teacher, data = files.teacher(tmp_path / "net.pth"), open_dataset(files.data(tmp_path / "data"))
    student, _ = convert(teacher, "resnet8", tmp_path / "s", settings=Settings(time_steps=6))

    def taken(recipe: str, chunk: int, tutor: Path | None) -> int:
        changes = ["run.batch_size=4", f"run.time_chunk={chunk}", "network.time_steps=6", "network.encoder=direct"]
        return step_bytes(student, tutor, data, load_recipe(recipe, changes), CPU)

    hybrid, attention = taken("hybrid", 0, None), taken("lasnn", 0, teacher)
    assert hybrid == taken("hybrid", 0, None)  # the same every time
    assert hybrid < attention < taken("lasnn-gradient", 0, teacher)
    assert taken("lasnn", 2, teacher) < attention
