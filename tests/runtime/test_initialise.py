"""Fresh tensors: their distributions, that each has chance of its own, and what a batch norm's weight starts at."""

from __future__ import annotations

import math

import pytest
import torch

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Attr, Graph, Node
from idsnn_convert.runtime.initialise import V_THRESHOLD, fresh_tensors, prepared
from idsnn_convert.runtime.neurons import Neuron, checked
from idsnn_convert.runtime.ops import check, tensor_shapes
from idsnn_convert.runtime.readout import Readout
from idsnn_convert.runtime.recipe import Recipe, load_recipe

WINDOW: dict[str, Attr] = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "bias": True}
NORM: dict[str, Attr] = {"channels": 64, "eps": 1e-5, "momentum": 0.1, "affine": True}


def network() -> Graph:
    """Two conv-norm-neuron layers of thresholds 0.3 and 0.7, a norm after them, and a head."""
    maps, features = (64, 4, 4), 64 * 4 * 4
    graph = Graph(
        (
            Node("x", "input", (), {}, (3, 4, 4)),
            Node("conv1", "conv2d", ("x",), {"in_channels": 3, "out_channels": 64, **WINDOW}, maps),
            Node("bn1", "batch_norm", ("conv1",), NORM, maps),
            Node("lif1", "neuron", ("bn1",), Neuron(v_threshold=0.3).attrs(), maps),
            Node("conv2", "conv2d", ("lif1",), {"in_channels": 64, "out_channels": 64, **WINDOW}, maps),
            Node("bn2", "batch_norm", ("conv2",), NORM, maps),
            Node("add", "add", ("bn2", "lif1"), {}, maps),
            Node("lif2", "neuron", ("add",), Neuron(v_threshold=0.7).attrs(), maps),
            Node("bn3", "batch_norm", ("lif2",), NORM, maps),
            Node("flat", "flatten", ("bn3",), {}, (features,)),
            Node("fc", "linear", ("flat",), {"in_features": features, "out_features": 10, "bias": True}, (10,)),
            Node("out", "output", ("fc",), {}, (10,)),
        )
    )
    check(graph)
    return graph


def test_every_tensor_of_the_graph_in_its_shape() -> None:
    graph = network()
    fresh = fresh_tensors(graph, seed=0)
    assert {name: tuple(tensor.shape) for name, tensor in fresh.items()} == tensor_shapes(graph)
    assert {tensor.dtype for tensor in fresh.values()} == {torch.float32}


def test_convolutions_are_normal_with_fan_out_deviation() -> None:
    weight = fresh_tensors(network(), seed=0)["conv2.weight"]
    deviation = math.sqrt(2 / (64 * 3 * 3))
    assert weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert weight.mean().abs().item() < 0.02 * deviation
    assert weight.abs().max() > 3 * deviation  # no uniform reaches that


def test_a_grouped_convolution_counts_all_output_channels() -> None:
    attrs: dict[str, Attr] = {"in_channels": 64, "out_channels": 64, **WINDOW, "groups": 4}
    nodes = (Node("x", "input", (), {}, (64, 4, 4)), Node("c", "conv2d", ("x",), attrs, (64, 4, 4)))
    graph = Graph((*nodes, Node("out", "output", ("c",), {}, (64, 4, 4))))
    assert fresh_tensors(graph, 0)["c.weight"].std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.03)


def test_the_head_is_uniform_as_torch_draws_it() -> None:
    fresh = fresh_tensors(network(), seed=0)
    bound = 1 / math.sqrt(64 * 4 * 4)
    for name in ("fc.weight", "fc.bias"):
        assert fresh[name].abs().max() <= bound
    assert fresh["fc.weight"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_norms_and_biases_start_plain() -> None:
    fresh = fresh_tensors(network(), seed=0)
    expected = {"bn1.weight": 1, "bn1.bias": 0, "bn1.running_mean": 0, "bn1.running_var": 1, "conv1.bias": 0}
    assert {name: fresh[name].unique().tolist() for name in expected} == {name: [value] for name, value in expected.items()}


def test_a_group_norm_starts_as_a_batch_norm_does() -> None:
    attrs: dict[str, Attr] = {"groups": 4, "channels": 64, "eps": 1e-5, "affine": True}
    graph = network().with_nodes({"bn1": Node("bn1", "group_norm", ("conv1",), attrs, (64, 4, 4))})
    fresh = fresh_tensors(graph, 0, V_THRESHOLD)
    assert (fresh["bn1.weight"].unique().tolist(), fresh["bn1.bias"].unique().tolist()) == ([pytest.approx(0.3)], [0])


def test_norm_weight_as_given_or_the_next_threshold() -> None:
    graph = network()
    given = fresh_tensors(graph, 0, batch_norm_weight=0.25)
    assert given["bn1.weight"].unique().item() == 0.25
    after = fresh_tensors(graph, 0, batch_norm_weight=V_THRESHOLD)
    found = [after[f"{name}.weight"].unique().item() for name in ("bn1", "bn2", "bn3")]
    assert found == pytest.approx([0.3, 0.7, 1.0])  # bn2 through the add; no neuron follows bn3


def test_a_tensor_depends_on_seed_and_name_alone() -> None:
    graph = network()
    every = fresh_tensors(graph, seed=3)
    alone = fresh_tensors(graph, seed=3, names=["fc.bias", "conv2.weight"])
    assert list(alone) == ["conv2.weight", "fc.bias"]
    assert all(torch.equal(tensor, every[name]) for name, tensor in alone.items())
    other = fresh_tensors(graph, seed=4, names=["conv2.weight"])
    assert not torch.equal(other["conv2.weight"], every["conv2.weight"])
    assert not torch.equal(every["conv1.weight"][0, 0], every["conv2.weight"][0, 0])


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    fresh_tensors(network(), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_drawn_values_stay_the_same_between_releases() -> None:
    drawn = fresh_tensors(network(), seed=0, names=["fc.bias"])["fc.bias"]
    assert drawn[:3].tolist() == pytest.approx([-0.0131388195, -0.0281822421, 0.0228431262], rel=1e-6)


def converted() -> Checkpoint:
    return Checkpoint(network(), fresh_tensors(network(), seed=9), 4, training={"epochs": 3})


def test_a_recipe_that_changes_nothing() -> None:
    before, after = converted(), prepared(converted(), Recipe())
    assert (after.time_steps, after.encoder, after.training) == (4, "direct", {"epochs": 3})
    assert all(torch.equal(tensor, before.tensors[name]) for name, tensor in after.tensors.items())


def test_a_recipe_that_starts_afresh() -> None:
    recipe = load_recipe("baseline", ["run.seed=5", "network.time_steps=6", "network.encoder=poisson"])
    after, wanted = prepared(converted(), recipe), fresh_tensors(network(), 5, V_THRESHOLD)
    assert (after.time_steps, after.encoder, after.training) == (6, "poisson", {})
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in after.tensors.items())


def test_a_recipe_changes_every_neuron_and_nothing_else() -> None:
    recipe = load_recipe("idsnn", ["neuron.tau=2.0", "neuron.reset=soft", "neuron.surrogate=arctan", "neuron.width=1.0"])
    before, after = converted(), prepared(converted(), recipe)
    neurons = [checked(node.attrs) for node in after.graph.of("neuron")]
    assert [neuron.v_threshold for neuron in neurons] == [0.3, 0.7]
    assert {(n.reset, n.surrogate, n.width) for n in neurons} == {("soft", "arctan", 1.0)}
    assert [neuron.tau for neuron in neurons] == pytest.approx([2.0, 2.0])
    assert all(torch.equal(tensor, before.tensors[name]) for name, tensor in after.tensors.items())


def test_a_width_can_be_each_layers_threshold_and_a_slope_damped() -> None:
    recipe = load_recipe("idsnn", ["neuron.surrogate=linear", "neuron.width=v_threshold", "neuron.damping=0.3"])
    neurons = [checked(node.attrs) for node in prepared(converted(), recipe).graph.of("neuron")]
    assert [(n.surrogate, n.width, n.damping) for n in neurons] == [("linear", 0.3, 0.3), ("linear", 0.7, 0.3)]
    above = prepared(converted(), load_recipe("idsnn", ["neuron.width=v_threshold", "neuron.v_threshold=2.0"]))
    assert {row["width"] for row in above.neurons} == {2.0}


def test_a_recipe_lets_neurons_learn_from_where_they_stand() -> None:
    after = prepared(converted(), load_recipe("idsnn", ['neuron.learn=["decay", "v_threshold"]']))
    assert list(after.tensors) == list(tensor_shapes(after.graph))
    assert [row["decay"] for row in after.neurons] == pytest.approx([0.25, 0.25])
    assert [row["v_threshold"] for row in after.neurons] == pytest.approx([0.3, 0.7])
    assert prepared(after, Recipe()).tensors["lif1.decay_logit"] is after.tensors["lif1.decay_logit"]


def test_what_neurons_learnt_is_kept_when_they_stop_learning() -> None:
    learning = prepared(converted(), load_recipe("idsnn", ['neuron.learn=["v_threshold"]']))
    moved = {**learning.tensors, "lif1.log_threshold": torch.tensor(math.log(0.9))}
    after = prepared(learning.with_tensors(moved), load_recipe("idsnn", ["neuron.learn=[]"]))
    assert list(after.tensors) == list(tensor_shapes(network()))
    assert [row["v_threshold"] for row in after.neurons] == pytest.approx([0.9, 0.7])
    again = prepared(learning.with_tensors(moved), load_recipe("idsnn", ["neuron.v_threshold=0.4"]))
    assert [row["v_threshold"] for row in again.neurons] == pytest.approx([0.4, 0.4])


def test_a_recipe_chooses_the_readout() -> None:
    leaky = prepared(converted(), load_recipe("idsnn", ["network.readout=membrane", "network.readout_decay=0.5"]))
    assert leaky.readout == Readout("membrane", 0.5)
    assert prepared(leaky, Recipe()).readout == Readout("membrane", 0.5)
    assert prepared(leaky, load_recipe("idsnn", ["network.readout=mean"])).readout == Readout()
    with pytest.raises(UserError, match="has no leak"):
        prepared(converted(), load_recipe("idsnn", ["network.readout_decay=0.5"]))


def test_integrate_and_fire_has_no_decay() -> None:
    after = prepared(converted(), load_recipe("idsnn", ["neuron.kind=if"]))
    assert {row["decay"] for row in after.neurons} == {1.0}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["neuron.tau=2.0", "neuron.decay=0.5"], "say the same thing"),
        (["neuron.kind=if", "neuron.tau=2.0"], "kind if has no leak"),
        (["neuron.kind=if", 'neuron.learn=["decay"]'], "no leak to learn"),
    ],
)
def test_neurons_that_contradict_themselves(overrides: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        prepared(converted(), load_recipe("idsnn", overrides))
