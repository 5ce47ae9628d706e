from __future__ import annotations

import pytest

from idsnn_convert.passes.levels import level_pairs, levels
from idsnn_convert.passes.targets import build_target
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node, Shape
from tests import graphs


def sketch(*shapes: Shape, op: str = "activation") -> Graph:
    """Sites of these shapes one after the other, named by their number."""
    sites = [Node(str(n), op, (str(n - 1),), {}, shape) for n, shape in enumerate(shapes, 1)]
    return Graph((Node("0", "input", (), {}, shapes[0]), *sites, Node("out", "output", (str(len(sites)),), {}, shapes[-1])))


def maps(*sides: int) -> list[Shape]:
    return [(2, side, side) for side in sides]


@pytest.mark.parametrize(
    ("sides", "wanted"),
    [
        ((32, 32, 16, 16, 8, 8), ("2", "4", "6")),  # the ends of three resolutions
        ((32, 16, 16, 8, 4), ("1", "4", "5")),  # of four, the deeper middle
        ((32, 16, 8, 4, 2), ("1", "3", "4")),  # 2x2 says nothing of where
        ((64, 32, 16, 8, 4), ("1", "3", "5")),
        ((32, 16, 16), ("1", "2", "3")),  # two resolutions: by thirds
        ((8, 8, 8, 8, 8, 8, 8), ("3", "5", "7")),
    ],
)
def test_where_three_levels_end(sides: tuple[int, ...], wanted: tuple[str, str, str]) -> None:
    assert levels(sketch(*maps(*sides))) == wanted
    assert levels(sketch(*maps(*sides), (10,), op="neuron")) == wanted  # features behind them are no maps


def test_a_residual_network_is_tapped_at_its_stages() -> None:
    graph = build_target("resnet20", input_shape=(3, 32, 32), classes=10).graph
    assert [graph[name].shape for name in levels(graph)] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_level_goes_with_level() -> None:
    rows = level_pairs(graphs.spiking(), sketch(*maps(32, 16, 8)))
    assert [row["place"] for row in rows] == ["low", "middle", "high"]
    assert [row["teacher"] for row in rows] == ["1", "2", "3"]
    assert tuple(row["student"] for row in rows) == levels(graphs.spiking())


def test_too_few_maps_for_three_levels() -> None:
    with pytest.raises(UserError, match=r"teacher: the network fires at 2 maps[\s\S]*Name pairs of nodes in loss\.taps"):
        level_pairs(graphs.spiking(), sketch(*maps(32, 16, 2)))
