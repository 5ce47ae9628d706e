from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node, from_json, to_json


def test_json_round_trip_keeps_everything(tiny_spiking_graph: Graph) -> None:
    assert from_json(json.loads(json.dumps(to_json(tiny_spiking_graph)))) == tiny_spiking_graph
    sourced = Graph((Node("x", "input", shape=(1, 2, 2), source="net.py:3"), Node("y", "output", ("x",), {}, (1, 2, 2))))
    assert from_json(to_json(sourced))["x"].source == "net.py:3"


def test_users_and_selection(tiny_graph: Graph) -> None:
    assert tiny_graph.users["act1"] == ("layer1.0.conv1", "layer1.0.add")
    assert tiny_graph.users["out"] == ()
    assert [node.name for node in tiny_graph.of("linear", "flatten")] == ["flatten", "fc"]
    assert tiny_graph.input_shape == (3, 8, 8)
    assert tiny_graph.output_shape == (5,)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({}, "not a list of nodes"),
        ([3], "node 0 has no name"),
        ([{"name": "x"}], "no operation"),
        ([{"name": "x", "op": "input", "inputs": "y"}], "'x': inputs must be"),
        ([{"name": "x", "op": "input", "shape": [1, "2"]}], "'x': shape must be"),
        ([{"name": "x", "op": "input", "shape": [True]}], "'x': shape must be"),
        ([{"name": "x", "op": "input", "attrs": []}], "'x': attrs must be"),
        ([{"name": "x", "op": "input", "attrs": {"a": {}}}], "attribute 'a'"),
        ([{"name": "x", "op": "input", "attrs": {"a": None}}], "attribute 'a'"),
    ],
)
def test_malformed_json_is_refused_by_place(rows: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        from_json(rows)


def test_a_copy_without_sources_is_else_the_same(tiny_graph: Graph) -> None:
    placed = Graph(tuple(replace(node, source="net.py:1") for node in tiny_graph))
    assert placed.without_sources() == tiny_graph != placed


def test_a_slice_to_the_end_is_read_and_no_other_number_of_that_size() -> None:
    def read(stop: int) -> object:
        cut = {"name": "cut", "op": "slice", "attrs": {"dim": 2, "start": 0, "stop": stop, "step": 2}}
        return from_json([cut]).nodes[0].attr("stop")

    assert read((1 << 63) - 1) == (1 << 63) - 1
    with pytest.raises(UserError, match="'stop' has the unsupported value"):
        read((1 << 63) - 2)
