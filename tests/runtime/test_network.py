from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from idsnn_convert.runtime.checkpoint import Checkpoint, read, save
from idsnn_convert.runtime.convolution import Convolution
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.network import SpikingNetwork, build, computed, time_free_nodes
from idsnn_convert.runtime.neurons import Neuron, unrolled
from tests.graphs import random_tensors, residual, spiking

needs_compiler = pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no C++ compiler here")


def step_by_step(graph: Graph, tensors: dict[str, torch.Tensor], images: torch.Tensor, steps: int) -> torch.Tensor:
    """Every layer at every step, one after the other, in evaluation: what the network must equal."""
    values = {graph.nodes[0].name: images.expand(steps, *images.shape)}
    for node in graph.nodes[1:-1]:
        x, own = values[node.inputs[0]], {slot: tensors.get(f"{node.name}.{slot}") for slot in ("weight", "bias")}
        if node.op == "neuron":
            values[node.name] = unrolled(x, Neuron())
        elif node.op == "conv2d":
            assert own["weight"] is not None
            frames = [F.conv2d(frame, own["weight"], own["bias"], node.attr("stride"), node.attr("padding")) for frame in x]
            values[node.name] = torch.stack(frames)
        elif node.op == "batch_norm":
            mean, var = tensors[f"{node.name}.running_mean"], tensors[f"{node.name}.running_var"]
            frames = [F.batch_norm(frame, mean, var, own["weight"], own["bias"]) for frame in x]
            values[node.name] = torch.stack(frames)
        elif node.op == "linear":
            assert own["weight"] is not None
            values[node.name] = F.linear(x, own["weight"], own["bias"])
        elif node.op == "add":
            values[node.name] = x + values[node.inputs[1]]
        else:
            values[node.name] = x.mean((3, 4), keepdim=True) if node.op == "global_avg_pool" else x.flatten(2)
    return values[graph.nodes[-1].inputs[0]]


def test_equals_every_layer_at_every_step(tiny_spiking_graph: Graph) -> None:
    tensors = random_tensors(tiny_spiking_graph)
    images = torch.randn(3, 3, 8, 8)
    logits = SpikingNetwork(tiny_spiking_graph, tensors, 4).eval()(images)
    assert logits.shape == (4, 3, 5)
    assert logits.std() > 0
    torch.testing.assert_close(logits, step_by_step(tiny_spiking_graph, tensors, images, 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_compiler)])
def test_fused_equals_layer_by_layer_in_training_and_evaluation(tiny_spiking_graph: Graph, compiled: bool) -> None:
    tensors = random_tensors(tiny_spiking_graph)
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = SpikingNetwork(tiny_spiking_graph, tensors, 4, fused=False)
    fused = SpikingNetwork(tiny_spiking_graph, tensors, 4, compiled=compiled)
    assert sum("__fused" in name for name, _ in fused.body.named_modules()) == 5  # the stem's too, whose input has no time axis
    assert list(fused.tensors()) == list(plain.tensors())
    for training in (True, False):
        results = []
        for network in (plain, fused):
            network.train(training)
            logits = network(images)
            network.zero_grad()
            logits.square().mean().backward()
            results.append((logits.detach(), {name: p.grad for name, p in network.named_parameters()}, network.tensors()))
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@needs_compiler
def test_compiled_networks_convolve_quickly_and_spike_the_same() -> None:
    graph = residual(("neuron", Neuron().attrs()), (3, 16, 16), widths=(32, 64))
    tensors, images = random_tensors(graph), torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    quick, plain = (SpikingNetwork(graph, tensors, 4, compiled=compiled).eval() for compiled in (True, False))
    found = {name for name, module in quick.body.named_modules() if isinstance(module, Convolution) and module.quick}
    assert found == {
        f"layer{place}__convolution" for place in ("1.0.conv1", "1.0.conv2", "2.0.conv2")
    }  # neither stem nor stride
    spikes = []
    for network in (quick, plain):
        seen: list[torch.Tensor] = []
        for node in graph.of("neuron"):
            network.layer(node.name).register_forward_hook(lambda module, given, out, seen=seen: seen.append(out))
        network(images).sum().backward()
        spikes.append(torch.cat([each.flatten() for each in seen]))
    assert 0.02 < spikes[0].mean() < 0.9
    assert (spikes[0] != spikes[1]).sum() <= spikes[0].numel() * 1e-5


@needs_compiler
def test_a_teacher_convolves_quickly_too_where_asked() -> None:
    graph = residual(("activation", {"kind": "relu"}), (3, 16, 16), widths=(32, 64))
    tensors, images = random_tensors(graph), torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, quick = (build(graph, tensors, compiled=compiled).eval() for compiled in (False, True))
    assert not any(isinstance(module, Convolution) for module in plain.modules())
    assert sum(isinstance(module, Convolution) for module in quick.modules()) == 3
    assert quick.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(quick(images), plain(images), rtol=1e-4, atol=1e-5)


def test_nodes_that_are_alike_compute_with_their_own_tensors() -> None:
    attrs = {"in_features": 3, "out_features": 2, "bias": False}
    tensors, x = {"a.weight": torch.randn(2, 3), "b.weight": torch.randn(2, 3)}, torch.randn(4, 3)
    for name in "abab":
        found = computed(Node(name, "linear", ("x",), attrs, (2,)), tensors, [x])
        assert torch.equal(found, F.linear(x, tensors[f"{name}.weight"]))
    with pytest.raises(ValueError, match="output computes nothing"):
        computed(Node("o", "output", ("a",)), {}, [x])


def test_parameters_keep_the_graphs_order_in_every_process(tiny_spiking_graph: Graph) -> None:
    """Fused layers' tensors come last, and in the graph's order, whatever the hash seed: processes add them up by it."""
    network = SpikingNetwork(tiny_spiking_graph, random_tensors(tiny_spiking_graph), 2)
    taken_in = [node.name for node in tiny_spiking_graph.of("batch_norm") if node.name != "layer2.0.downsample.1"]
    found = [name for name, _ in network.body.named_modules() if name in taken_in]
    assert [name for name in found if "." in name] == [name for name in taken_in if "." in name]


def test_neurons_that_learn_get_gradients_and_are_saved(tmp_path: Path) -> None:
    graph = spiking(neuron=Neuron(surrogate="arctan", learn_decay=True, learn_threshold=True))
    tensors = fresh_tensors(graph, seed=0)
    network = SpikingNetwork(graph, tensors, 4)
    network(torch.randn(2, 3, 8, 8)).square().sum().backward()
    learnt = {name: p for name, p in network.body.named_parameters() if "act" in name}
    assert len(learnt) == 2 * len(graph.of("neuron"))
    assert all(p.grad is not None and p.grad.item() != 0 for p in learnt.values())
    with torch.no_grad():
        network.body.get_parameter("act1.decay_logit").zero_()
    save(tmp_path / "s", Checkpoint(graph, network.tensors(), 4))
    assert read(tmp_path / "s").neurons[0]["decay"] == 0.5


def test_time_steps_can_be_changed_without_touching_tensors(tiny_spiking_graph: Graph) -> None:
    network = SpikingNetwork(tiny_spiking_graph, random_tensors(tiny_spiking_graph), 2).eval()
    images = torch.randn(2, 3, 8, 8)
    two = network(images)
    network.time_steps = 5
    assert network(images).shape == (5, 2, 5)
    torch.testing.assert_close(network(images)[:2], two)
    with pytest.raises(ValueError, match="at least 1"):
        network.time_steps = 0


def test_poisson_input_has_a_time_axis_from_the_start(tiny_spiking_graph: Graph) -> None:
    assert time_free_nodes(tiny_spiking_graph, "poisson") == frozenset()
    network = SpikingNetwork(tiny_spiking_graph, random_tensors(tiny_spiking_graph), 3, "poisson").eval()
    assert network(torch.rand(2, 3, 8, 8)).shape == (3, 2, 5)


def test_only_what_precedes_the_first_neuron_is_free_of_time(tiny_spiking_graph: Graph) -> None:
    assert time_free_nodes(tiny_spiking_graph, "direct") == {"x", "conv1", "bn1"}


def test_a_value_without_time_is_repeated_where_it_meets_one_with_time(tiny_spiking_graph: Graph) -> None:
    """The image itself added behind a neuron, and a network without any neuron."""
    nodes = [node for node in tiny_spiking_graph if node.name in ("x", "conv1", "bn1", "act1")]
    from idsnn_convert.runtime.graph import Node

    graph = Graph((*nodes, Node("sum", "add", ("act1", "bn1"), {}, (4, 8, 8)), Node("out", "output", ("sum",), {}, (4, 8, 8))))
    network = SpikingNetwork(graph, random_tensors(graph), 3).eval()
    images = torch.randn(2, 3, 8, 8)
    still = network.body.bn1(network.body.conv1(images))  # type: ignore[operator]
    torch.testing.assert_close(network(images), unrolled(still.expand(3, *still.shape), Neuron()) + still)
    bare = Graph((*nodes[:3], Node("out", "output", ("bn1",), {}, (4, 8, 8))))
    assert SpikingNetwork(bare, random_tensors(bare), 3)(images).shape == (3, 2, 4, 8, 8)


def test_state_dict_has_the_graphs_names_and_values(tiny_graph: Graph) -> None:
    tensors = random_tensors(tiny_graph)
    state = build(tiny_graph, tensors).state_dict()
    assert set(state) == set(tensors)
    assert all(torch.equal(state[name], tensors[name]) for name in tensors)
    state["fc.weight"].zero_()
    assert tensors["fc.weight"].abs().sum() > 0  # a copy


def test_tensors_that_do_not_fit_are_refused_by_name(tiny_graph: Graph) -> None:
    tensors = random_tensors(tiny_graph)
    with pytest.raises(UserError, match=r"'fc\.bias' is missing"):
        build(tiny_graph, {name: value for name, value in tensors.items() if name != "fc.bias"})
    with pytest.raises(UserError, match="'extra' is not in it"):
        build(tiny_graph, {**tensors, "extra": torch.zeros(1)})
    with pytest.raises(UserError, match=r"'fc\.bias' has shape \(6,\)"):
        build(tiny_graph, {**tensors, "fc.bias": torch.zeros(6)})
