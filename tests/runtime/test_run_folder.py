"""The run folder: one run, one writer, files that are whole, and a state without pickle."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from socket import gethostname

import pytest
import torch
from safetensors.torch import save_file

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
        pytest.raises(UserError, match=rf"^process {os.getpid()} on {gethostname()} is training in .*\n.*name another folder"),
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


def test_a_turned_bit_of_the_state_is_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_state({"w": torch.rand(100)}, {"epoch": 3})
    whole = folder.state.read_bytes()
    for place in (len(whole) - 7, whole.index(b"epoch") + 8):
        folder.state.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"state\.safetensors cannot be read: it is damaged \(SHA-256\)"):
            folder.read_state()


def test_a_state_that_is_no_object_is_told(tmp_path: Path) -> None:
    save_file({}, tmp_path / "state.safetensors", {"idsnn_state": "[1]"})
    with pytest.raises(UserError, match=r"state\.safetensors cannot be read: "):
        RunFolder(tmp_path).read_state()


def staged(folder: RunFolder, text: str) -> dict[str, str]:
    """An epoch's two files in ``.next``."""
    with folder.staged() as place:
        place.last.write_text(text)
        folder.stage_metrics({"epoch": text})
        return place.hashes()


def test_an_epochs_files_wait_for_the_state_that_names_them(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    old = staged(folder, "old")
    assert not folder.last.exists()
    folder.settle(old)
    assert folder.last.read_text() == "old"
    staged(folder, "of an epoch that no state knows")
    folder.settle(old)
    assert folder.last.read_text() == "old"
    new = staged(folder, "new")
    folder.next.last.replace(folder.last)  # dead between two moves
    folder.settle(new)
    assert folder.last.read_text() == "new"
    assert [json.loads(line)["epoch"] for line in folder.metrics.read_text().splitlines()] == ["old", "new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.safetensors", "metrics.jsonl"]
    folder.check(new)


def test_a_file_that_the_run_did_not_write_is_told_and_one_that_was_removed_is_not(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    files = staged(folder, "new")
    folder.settle(files)
    folder.last.write_text("neW")
    with pytest.raises(UserError, match=r"last\.safetensors is not the file that the run wrote.*\n.*or remove it"):
        folder.check(files)
    folder.last.unlink()
    folder.check(files)


def test_what_cannot_be_staged_is_not_left_half(tmp_path: Path) -> None:
    def fail() -> None:
        with RunFolder(tmp_path).staged() as place:
            place.last.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".idsnn-abc.part").mkdir()
    with open_run(tmp_path, resume=False):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_lock_of_a_dead_process_is_none(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 1 on elsewhere\n")
    with open_run(tmp_path, resume=False):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {gethostname()}\n"


def test_a_file_system_that_cannot_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(UserError, match=r"cannot lock files: No locks available\n.*local disk"),
        open_run(tmp_path, resume=False),
    ):
        pass


def test_the_recipe_is_a_recipe(tmp_path: Path) -> None:
    recipe = Recipe(description="mine")
    RunFolder(tmp_path).write_recipe(recipe)
    assert load_recipe(tmp_path / "recipe.toml") == recipe
