from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("nir")

import nir

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.nir.read import from_nir, is_nir
from idsnn_convert.runtime.export.nir.write import DT, to_nir
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron
from tests import graphs

STEPS = 3


def student(**neuron: Any) -> Checkpoint:
    graph = graphs.spiking(neuron=Neuron(**neuron))
    return Checkpoint(graph, graphs.random_tensors(graph), STEPS)


def written(folder: Path, graph: nir.NIRGraph) -> Path:
    place = folder / "x.nir"
    nir.write(place, graph)
    return place


@pytest.mark.parametrize("neuron", [{}, {"reset": "soft"}, {"kind": "if", "decay": 1.0}, {"decay": 0.9, "v_threshold": 1.0}])
def test_what_was_written_comes_back_as_the_same_network(tmp_path: Path, neuron: dict[str, Any]) -> None:
    checkpoint = student(**neuron)
    place = written(tmp_path, to_nir(checkpoint))
    assert is_nir(place)
    graph, tensors, own = from_nir(place)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = SpikingNetwork(checkpoint.graph, checkpoint.tensors, STEPS).eval()(images)
        found = SpikingNetwork(graph, tensors, STEPS).eval()(images)
    assert want.any()
    assert torch.allclose(found, want, atol=1e-5)
    assert own["time_steps"] == STEPS
    assert [n.name for n in graph.of("neuron")] == [n.name for n in checkpoint.graph.of("neuron")]


def small(**changed: nir.NIRNode) -> nir.NIRGraph:
    """Another writer's graph: without metadata."""
    shape = np.array([2, 4, 4])

    def full(value: float) -> Any:
        return np.full(shape, value, np.float32)

    weight = np.ones((2, 2, 3, 3), np.float32)
    nodes: dict[str, nir.NIRNode] = {
        "in": nir.Input({"input": shape}),
        "conv": nir.Conv2d((4, 4), weight, 1, 1, 1, 1, np.zeros(2, np.float32)),
        "lif": nir.LIF(full(2 * DT), full(2), full(0), full(1), full(0)),
        "out": nir.Output({"output": shape}),
        **changed,
    }
    return nir.NIRGraph(nodes, [("in", "conv"), ("conv", "lif"), ("lif", "out")], type_check=False)


def test_another_writers_graph_is_read(tmp_path: Path) -> None:
    graph, tensors, own = from_nir(written(tmp_path, small()))
    assert [node.op for node in graph] == ["input", "conv2d", "neuron", "output"]
    assert graph["lif"].attr("decay") == 0.5
    assert graph["conv"].attr("bias") is False
    assert list(tensors) == ["conv.weight"]
    assert own == {}


def lif(**fields: Any) -> nir.LIF:
    shape = (2, 4, 4)
    values = {"tau": 2 * DT, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **fields}
    return nir.LIF(**{key: np.broadcast_to(np.float32(value), shape) for key, value in values.items()})


@pytest.mark.parametrize(
    ("neuron", "threshold"),
    [(lif(r=1.0), 2.0), (lif(r=4.0, v_threshold=1.5), 0.75), (nir.IF(np.full((2, 4, 4), 1.0), np.full((2, 4, 4), 3e-4)), 3.0)],
)
def test_a_potential_in_other_units_is_the_same_neuron(tmp_path: Path, neuron: nir.NIRNode, threshold: float) -> None:
    graph, _, _ = from_nir(written(tmp_path, small(lif=neuron)))
    assert graph["lif"].attr("v_threshold") == pytest.approx(threshold)


@pytest.mark.parametrize(("start", "end"), [(0, -1), (-3, -1), (0, 2)])
def test_a_map_is_flattened_whole(tmp_path: Path, start: int, end: int) -> None:
    flat, out = nir.Flatten({"input": np.array([2, 4, 4])}, start, end), nir.Output({"output": np.array([32])})
    graph, _, _ = from_nir(written(tmp_path, small(lif=flat, out=out)))
    assert graph["lif"].shape == (32,)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"lif": lif(v_leak=0.1)}, "'lif' has v_leak 0.1; only 0 has"),
        ({"lif": lif(v_reset=-1)}, "'lif' has v_reset -1"),
        ({"lif": lif(r=-1.0)}, "'lif' has r -1; a current must raise"),
        ({"lif": lif(tau=DT / 2)}, "'lif' has tau 5e-05, not above a step"),
        ({"lif": lif(tau=DT * np.arange(2, 6))}, "'lif' has 4 values of tau"),
        (
            {"lif": nir.Flatten({"input": np.array([2, 4, 4])}, 1, -1), "out": nir.Output({"output": np.array([2, 16])})},
            "'lif' flattens axes 1 to -1",
        ),
        ({"lif": nir.Threshold(np.ones((2, 4, 4)))}, "'lif' is a Threshold"),
        ({"conv": nir.Conv2d((4, 4), np.ones((2, 2, 3, 3)), 1, "same", 1, 1, np.zeros(2))}, "'conv' has padding 'same'"),
        ({"out": nir.Input({"input": np.array([2, 4, 4])})}, "inputs and"),
    ],
)
def test_what_has_no_canonical_form_is_refused_by_name(tmp_path: Path, changed: dict[str, nir.NIRNode], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        from_nir(written(tmp_path, small(**changed)))


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    graph = small()
    graph.edges.append(("lif", "conv"))
    with pytest.raises(UserError, match="it has a cycle"):
        from_nir(written(tmp_path, graph))


def test_names_that_no_submodule_can_have_are_changed(tmp_path: Path) -> None:
    nodes = {"in": "in", "conv": "a b", "lif": "forward", "out": "a_b"}
    graph = small()
    graph.nodes = {nodes[name]: node for name, node in graph.nodes.items()}
    graph.edges = [(nodes[source], nodes[sink]) for source, sink in graph.edges]
    assert [node.name for node in from_nir(written(tmp_path, graph))[0]] == ["in_", "a_b", "forward_", "a_b_"]


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    place = written(tmp_path, small())
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    assert is_nir(place)
    with pytest.raises(UserError, match="is no readable NIR file"):
        from_nir(place)
    (tmp_path / "text").write_text("no")
    assert not is_nir(tmp_path / "text")
    assert not is_nir(tmp_path / "absent")


def test_metadata_of_others_do_no_harm(tmp_path: Path) -> None:
    graph = small()
    graph.metadata = {"idsnn": "{broken", "dt": DT}
    assert from_nir(written(tmp_path, graph))[2] == {}
    names = {name: "../x" + name for name in graph.nodes}
    graph.metadata = {"idsnn": json.dumps({"names": names})}
    with pytest.raises(UserError, match="a name is letters"):
        from_nir(written(tmp_path, graph))
