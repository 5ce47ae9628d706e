from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from idsnn_convert.runtime.checkpoint import Checkpoint, save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.pretrained import CARD, CONFIG, FILES, MAPPING, WEIGHTS, from_pretrained, sha256, write_pretrained
from tests import graphs

GRAPH = graphs.spiking()
KNOWN = {"name": "half", "mean": [0.5] * 3, "std": [0.5] * 3}
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3, normalisation=KNOWN, mapping={"target": "small"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pretrained(tmp_path, STUDENT, '{"kind": "mapping"}\n', "# a card\n")
    return tmp_path


def test_the_four_files_give_the_network_again(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    found = from_pretrained(folder)
    assert found.graph == GRAPH
    assert all(torch.equal(tensor, STUDENT.tensors[name]) for name, tensor in found.tensors.items())
    config = json.loads((folder / CONFIG).read_text())
    assert (config["architecture"], config["num_labels"], config["image_shape"]) == ("small", graphs.CLASSES, [3, 8, 8])
    assert config["files"] == {name: sha256(folder / name) for name in (WEIGHTS, MAPPING)}


def test_the_card_is_for_people_and_other_files_are_let_be(folder: Path) -> None:
    (folder / CARD).write_text("# mine\n")
    (folder / ".gitattributes").write_text("")
    assert from_pretrained(str(folder)).time_steps == 3
    (folder / CARD).unlink()
    from_pretrained(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, MAPPING])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}") as told:
        from_pretrained(folder)
    assert "fetch it again" in str(told.value.hint)


@pytest.mark.parametrize("name", [WEIGHTS, MAPPING])
def test_a_file_of_another_hash_is_named(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match=f"{name} is not the file that config.json names"):
        from_pretrained(folder)


def test_the_weights_of_another_network_are_seen_by_what_they_say(folder: Path) -> None:
    save(folder / WEIGHTS, replace(STUDENT, time_steps=9))
    change(folder, lambda config: config["files"].update({WEIGHTS: sha256(folder / WEIGHTS)}))
    with pytest.raises(UserError, match=r"config\.json: time_steps is 3, but in model\.safetensors it is 9"):
        from_pretrained(folder)


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / CONFIG).read_text())
    edit(config)
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda config: config.update(torch_dtype="float16"), "key 'torch_dtype' is unknown"),
        (lambda config: config.pop("encoder"), "key 'encoder' is missing"),
        (lambda config: config.update(format_version=2), "format version 2 is not one"),
        (lambda config: config.update(num_labels=11), "num_labels is 11, but in model.safetensors it is 5"),
        (lambda config: config["files"].update(more="x"), "files must hold the SHA-256 of"),
        (lambda config: config.update(files=[]), "files must hold the SHA-256 of"),
    ],
)
def test_a_config_that_says_otherwise_is_refused(folder: Path, edit: Callable[[dict[str, Any]], object], problem: str) -> None:
    change(folder, edit)
    with pytest.raises(UserError, match=problem):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "no valid JSON"), ("[]", "no JSON object"), (" " * (1 << 21), "more than")]
)
def test_a_config_that_is_none_is_refused(folder: Path, text: str, problem: str) -> None:
    (folder / CONFIG).write_text(text)
    with pytest.raises(UserError, match=problem):
        from_pretrained(folder)


def test_a_name_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder") as told:
        from_pretrained("someone/resnet20")
    assert "nothing is downloaded" in str(told.value.hint)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: no folder"):
        from_pretrained(tmp_path / "file")
