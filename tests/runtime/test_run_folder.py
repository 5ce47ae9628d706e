"""The run folder: one run, one writer, files that are whole, and a state without pickle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.recipe import Recipe, load_recipe
from idsnn_convert.runtime.run_folder import RunFolder, open_run


def test_made_with_its_parents_and_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with open_run(tmp_path / "a" / "b", resume=False) as folder:
            assert folder.path.is_dir()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        open_run(tmp_path, resume=False),
        pytest.raises(UserError, match=r"another process is training in .*\n.*name another folder"),
        open_run(tmp_path, resume=False),
    ):
        pass


@pytest.mark.parametrize("name", ["state.safetensors", "metrics.jsonl", "last.safetensors"])
def test_a_folder_with_a_run_is_only_resumed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"already holds a run \\({name}\\)\nResume it"), open_run(tmp_path, resume=False):
        pass
    (tmp_path / "state.safetensors").touch()
    with open_run(tmp_path, resume=True) as folder:
        assert folder.path == tmp_path


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run to resume"), open_run(tmp_path / "absent", resume=True):
        pass
    assert not (tmp_path / "absent").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"cannot write to the run folder .*file.run: Not a directory"),
        open_run(tmp_path / "file" / "run", resume=False),
    ):
        pass


def test_state_there_and_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    weights = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    folder.write_state({"w": weights, "random": torch.get_rng_state()}, {"epoch": 3, "sums": [0.1, 1e-300]})
    tensors, facts = folder.read_state()
    assert torch.equal(tensors["w"], weights)
    assert torch.equal(tensors["random"], torch.get_rng_state())
    assert facts == {"epoch": 3, "sums": [0.1, 1e-300]}
    folder.write_state({"w": weights[:1]}, {})
    assert folder.read_state()[1] == {}
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_state({"w": torch.rand(100)}, {})
    whole = folder.state.read_bytes()
    for damaged in (whole[:-1], whole[:50], b"", whole.replace(b"idsnn_state", b"another_one")):
        folder.state.write_bytes(damaged)
        with pytest.raises(UserError, match=r"state\.safetensors cannot be read: "):
            folder.read_state()


def test_metrics_lines(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.keep_metrics(2)
    assert not folder.metrics.exists()
    for epoch in (1, 2, 3):
        folder.append_metrics({"epoch": epoch})
    folder.keep_metrics(2)
    folder.append_metrics({"epoch": 33})
    assert [json.loads(line)["epoch"] for line in folder.metrics.read_text().splitlines()] == [1, 2, 33]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_metrics_that_find_no_room(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: No space left on device"):
        folder.append_metrics({"epoch": 1})


def test_the_recipe_is_a_recipe(tmp_path: Path) -> None:
    recipe = Recipe(description="mine")
    RunFolder(tmp_path).write_recipe(recipe)
    assert load_recipe(tmp_path / "recipe.toml") == recipe
