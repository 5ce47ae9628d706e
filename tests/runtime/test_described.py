"""The form that checkpoints and teachers share; what is refused is tested in test_checkpoint.py, through its one format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from idsnn_convert.runtime import bounds, described, graph
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from tests.graphs import random_tensors

ABSENT = UserError("it is something else")


@dataclass(frozen=True)
class Facts:
    graph: Graph


def parse(data: Any) -> Facts:
    return Facts(described.parsed_head(data, version=7)[0])


def test_what_is_written_under_a_key_is_read_under_it(tiny_graph: Graph, tmp_path: Path) -> None:
    path, tensors = tmp_path / "net.safetensors", random_tensors(tiny_graph)
    described.write(path, "kind", tiny_graph, {"format_version": 7, "graph": graph.to_json(tiny_graph)}, tensors)
    found, again = described.read(path, "kind", "network", parse, ABSENT)
    assert found.graph == tiny_graph
    assert list(again) == list(tensors)
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert described.carries(path, "kind")
    assert not described.carries(path, "kin")
    with pytest.raises(UserError, match="something else"):
        described.read(path, "kin", "network", parse, ABSENT)


def test_a_description_beyond_the_bound_is_not_parsed(
    tiny_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described.write(tmp_path / "net", "kind", tiny_graph, {"format_version": 7}, random_tensors(tiny_graph))
    monkeypatch.setattr(bounds, "LARGEST_JSON", 10)
    with pytest.raises(UserError, match=r"description is no valid JSON \(it is 96 characters long; at most 10"):
        described.read(tmp_path / "net", "kind", "network", parse, ABSENT)
