from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from idsnn_convert.passes.load.safetensors_file import read_safetensors
from idsnn_convert.runtime.checkpoint import Checkpoint, save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from tests.graphs import random_tensors


def test_tensors_come_back_as_stored(tmp_path: Path) -> None:
    weights = {"a": torch.randn(2, 3), "b": torch.ones(2, dtype=torch.float16)}
    save_file(weights, tmp_path / "a.pt", {"format": "pt"})
    found = read_safetensors(tmp_path / "a.pt")
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in weights.items())


@pytest.mark.parametrize("kept", [9, 60, -4])
def test_a_cut_file_is_refused(kept: int, tmp_path: Path) -> None:
    save_file({"a": torch.ones(100)}, tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:kept])
    with pytest.raises(UserError, match="is no sound safetensors file"):
        read_safetensors(tmp_path / "a")


def test_a_spiking_checkpoint_is_no_teacher(tmp_path: Path, tiny_spiking_graph: Graph) -> None:
    save(tmp_path / "a", Checkpoint(tiny_spiking_graph, random_tensors(tiny_spiking_graph), time_steps=4))
    with pytest.raises(UserError, match="is a spiking checkpoint already"):
        read_safetensors(tmp_path / "a")
