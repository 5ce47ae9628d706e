"""Balanced by hand in float64, and what may be balanced at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.balance import Balanced, Calibration, balance
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Attr, Graph, Node
from idsnn_convert.runtime.network import SpikingNetwork, build
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.ops import tensor_shapes
from tests import graphs

torch.set_num_threads(1)
IF = Neuron("if", decay=1.0, reset="soft")
IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
WINDOW: dict[str, Attr] = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


def chain(neuron: Neuron = IF, bias: bool = False, pool: str = "avg_pool2d") -> Graph:
    """conv-IF-pool-conv-IF-flatten-linear."""
    more: dict[str, Attr] = {"ceil_mode": False, "dilation": (1, 1)} if pool == "max_pool2d" else {
        "ceil_mode": False, "count_include_pad": True
    }  # fmt: skip
    half: dict[str, Attr] = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), **more}
    return Graph(
        (
            Node("x", "input", shape=(3, 8, 8)),
            Node("conv1", "conv2d", ("x",), {"in_channels": 3, "out_channels": 4, "bias": bias, **WINDOW}, (4, 8, 8)),
            Node("if1", "neuron", ("conv1",), neuron.attrs(), (4, 8, 8)),
            Node("pool", pool, ("if1",), half, (4, 4, 4)),
            Node("conv2", "conv2d", ("pool",), {"in_channels": 4, "out_channels": 5, "bias": bias, **WINDOW}, (5, 4, 4)),
            Node("if2", "neuron", ("conv2",), neuron.attrs(), (5, 4, 4)),
            Node("flatten", "flatten", ("if2",), {}, (80,)),
            Node("fc", "linear", ("flatten",), {"in_features": 80, "out_features": 3, "bias": bias}, (3,)),
            Node("out", "output", ("fc",), {}, (3,)),
        )
    )


def weights(graph: Graph) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(shape, generator=draw) * 2 / max(1.0, math.sqrt(math.prod(shape[1:])))
        for name, shape in tensor_shapes(graph).items()
    }


def calibration(**changes: Any) -> Calibration:
    given: dict[str, Any] = {"batches": lambda: iter(IMAGES.split(4)), "images": 6, "time_steps": 7, "encoder": "direct"}
    return Calibration(**{**given, **changes})


def balanced(graph: Graph, **changes: Any) -> Balanced:
    return balance(graph, weights(graph), calibration(**changes))


def by_hand(currents: list[Tensor], threshold: float, reset: str) -> list[Tensor]:
    """Spikes in float64, a step at a time."""
    u, found = torch.zeros_like(currents[0]), []
    for x in currents:
        u = u + x
        spikes = (u > threshold).double()
        u = u * (1 - spikes) if reset == "hard" else u - threshold * spikes
        found.append(spikes)
    return found


@pytest.mark.parametrize("encoder", ["direct", "poisson"])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("percentile", [100.0, 97.0])
def test_thresholds_are_those_worked_out_by_hand(encoder: str, reset: str, percentile: float) -> None:
    graph = chain(replace(IF, reset=reset))
    found = balanced(graph, encoder=encoder, percentile=percentile)
    w = {name: tensor.double() for name, tensor in weights(graph).items()}
    if encoder == "direct":
        seen = [IMAGES.double()] * 7
    else:
        torch.manual_seed(0)
        drawn = [torch.cat(steps) for steps in zip(*(_poisson(part) for part in IMAGES.split(4)), strict=True)]
        seen = [spikes.double() for spikes in drawn]
    first = [F.conv2d(x, w["conv1.weight"], padding=1) for x in seen]
    v1 = _rank(first, percentile)
    assert found.thresholds["if1"] == pytest.approx(v1, rel=1e-6 if percentile == 100 else 2e-4)
    spikes = by_hand(first, found.thresholds["if1"], reset)
    second = [F.conv2d(F.avg_pool2d(s, 2), w["conv2.weight"], padding=1) for s in spikes]
    assert found.thresholds["if2"] == pytest.approx(_rank(second, percentile), rel=1e-6 if percentile == 100 else 2e-4)
    assert found.units == {"if1": found.thresholds["if1"], "if2": math.prod(found.thresholds.values())}


def _poisson(images: Tensor) -> Iterator[Tensor]:
    return iter([(torch.rand(images.shape) < images.abs()) * images.sign() for _ in range(7)])


def _rank(currents: list[Tensor], percentile: float) -> float:
    values = torch.stack(currents).flatten().sort().values
    return values[math.ceil(len(values) * percentile / 100) - 1].item()


def test_weights_stay_and_only_thresholds_and_widths_change() -> None:
    graph = chain()
    found = balanced(graph)
    assert found.scaled == ()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in weights(graph).items())
    for before, after in zip(graph, found.graph, strict=True):
        if before.op != "neuron":
            assert before == after
            continue
        threshold = found.thresholds[before.name]
        assert after.attrs == {**before.attrs, "v_threshold": threshold, "width": pytest.approx(threshold)}


@pytest.mark.parametrize("bias", [False, True])
def test_rates_approach_the_activations_of_the_network_without_spikes(bias: bool) -> None:
    """Accumulated logits, times the unit, over T: within a few percent at T = 400."""
    graph = chain(bias=bias)
    found = balanced(graph, time_steps=50)
    assert (found.scaled != ()) == bias
    ann = build(_relu(graph), weights(graph)).eval()
    snn = SpikingNetwork(found.graph, found.tensors, 400).eval()
    with torch.inference_mode():
        wanted, given = ann(IMAGES), snn(IMAGES).mean(0) * found.units["if2"]
    assert (wanted - given).abs().max() < 0.03 * wanted.abs().max()


def _relu(graph: Graph) -> Graph:
    changed = {node.name: replace(node, op="activation", attrs={"kind": "relu"}) for node in graph.of("neuron")}
    return graph.with_nodes(changed)


def test_where_paths_of_different_units_meet_they_are_brought_to_one() -> None:
    """Two residual blocks with batch norms, which fold: their biases become constant currents."""
    graph = graphs.spiking(neuron=IF)
    tensors = graphs.random_tensors(graph)
    found = balance(graph, tensors, calibration(time_steps=100))
    factors = found.graph.of("scale")
    assert len(factors) == 2
    assert all(0 < node.attr("factor") < 1 for node in factors)
    assert not found.graph.of("batch_norm")
    ann = build(_relu(graph), tensors).eval()
    snn = SpikingNetwork(found.graph, found.tensors, 1600).eval()
    last = found.graph.of("neuron")[-1].name
    with torch.inference_mode():
        wanted, logits = ann(IMAGES), snn(IMAGES) * found.units[last]
    early, late = ((wanted - logits[:steps].mean(0)).abs().max() / wanted.abs().max() for steps in (200, 1600))
    assert late < 0.05
    assert late < early / 4
    folded, own = fold(graph, tensors)
    assert folded.of("batch_norm") == ()
    assert own.keys() == found.tensors.keys()


def test_the_seed_draws_the_spikes_and_nothing_else_is_disturbed() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (balanced(chain(), encoder="poisson", seed=seed).thresholds for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.random.get_rng_state(), state)


def test_how_many_steps_and_images_run_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = balanced(chain(), encoder="poisson", percentile=99.0).thresholds
    monkeypatch.setattr("idsnn_convert.runtime.balance.steps_at_once", lambda graph, images: 2)
    assert balanced(chain(), encoder="poisson", percentile=99.0).thresholds == whole


def test_progress_counts_every_layers_images() -> None:
    seen: list[tuple[int, int]] = []
    balance(chain(), weights(chain()), calibration(), lambda done, of: seen.append((done, of)))
    assert seen == [(4, 12), (6, 12), (10, 12), (12, 12)]


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (chain(pool="max_pool2d"), r"through the max_pool2d 'pool'[\s\S]*mean pools"),
        (chain(Neuron()), r"'if1' leaks or learns[\s\S]*--neuron if"),
        (chain(replace(IF, learn_threshold=True)), "'if1' leaks or learns"),
    ],
)
def test_what_cannot_be_balanced_is_refused_by_name(graph: Graph, told: str) -> None:
    with pytest.raises(UserError, match=told):
        balanced(graph)


def test_a_norm_that_does_not_fold_is_refused() -> None:
    graph = chain()
    norm = Node("bn", "batch_norm", ("pool",), {"channels": 4, "eps": 1e-5, "momentum": 0.1, "affine": True}, (4, 4, 4))
    nodes = [replace(node, inputs=("bn",)) if node.name == "conv2" else node for node in graph]
    with pytest.raises(UserError, match=r"through the batch_norm 'bn'[\s\S]*directly follows a convolution"):
        balanced(Graph((*nodes[:4], norm, *nodes[4:])))


def test_layers_that_never_fire_and_percentiles_out_of_range_are_refused() -> None:
    graph = chain()
    dead = {name: -tensor.abs() if name == "conv2.weight" else tensor for name, tensor in weights(graph).items()}
    with pytest.raises(UserError, match=r"neuron layer 'if2' a current above 0[\s\S]*dead"):
        balance(graph, dead, calibration())
    with pytest.raises(UserError, match="1th percentile of the currents of neuron layer 'if1' is not above 0"):
        balanced(graph, percentile=1.0)
    for wrong in (0.0, 100.5, math.nan):
        with pytest.raises(UserError, match="a percentile is above 0 and at most 100"):
            calibration(percentile=wrong)
