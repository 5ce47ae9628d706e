from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from idsnn_convert.runtime.ann_file import KEY, AnnFile, is_ann_file, read_ann, save_ann
from idsnn_convert.runtime.checkpoint import is_checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, to_json
from idsnn_convert.runtime.normalisation import KNOWN
from tests.graphs import random_tensors, spiking


@pytest.fixture
def ann(tiny_graph: Graph) -> AnnFile:
    return AnnFile("resnet8", tiny_graph, random_tensors(tiny_graph), KNOWN["half"].to_json(), {"epochs": 2}, {"version": "1"})


@pytest.fixture
def written(ann: AnnFile, tmp_path: Path) -> Path:
    save_ann(tmp_path / "net.safetensors", ann)
    return tmp_path / "net.safetensors"


def test_round_trip(ann: AnnFile, written: Path) -> None:
    again = read_ann(written)
    assert (again.arch, again.graph, again.training, again.provenance) == (ann.arch, ann.graph, ann.training, ann.provenance)
    assert again.normalisation == ann.normalisation
    assert all(torch.equal(again.tensors[name], ann.tensors[name]) for name in ann.tensors)


def test_it_is_no_spiking_checkpoint_and_holds_a_plain_state_dict(ann: AnnFile, written: Path) -> None:
    assert is_ann_file(written)
    assert not is_checkpoint(written)
    assert load_file(written).keys() == ann.tensors.keys()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("format_version", 2, "format version 2"),
        ("arch", None, "arch is None, not a name"),
        ("graph", to_json(spiking()), "its graph has neurons"),
        ("normalisation", [], "normalisation is"),
        ("training", 3, "'training' is missing"),
    ],
)
def test_what_contradicts_itself_is_refused(written: Path, key: str, value: Any, told: str) -> None:
    with safe_open(written, framework="pt") as file:
        data = json.loads(file.metadata()[KEY])
    save_file(load_file(written), written, {KEY: json.dumps({**data, key: value})})
    with pytest.raises(UserError, match=told):
        read_ann(written)


def test_a_state_dict_alone_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "net.safetensors")
    assert not is_ann_file(tmp_path / "net.safetensors")
    with pytest.raises(UserError, match="does not describe its network"):
        read_ann(tmp_path / "net.safetensors")
