"""A few time steps at a time: the same numbers without batch norm, and what batch norm does then."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime import fused
from idsnn_convert.runtime.backends import chosen
from idsnn_convert.runtime.chunks import chunked, steps_at_once
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.kernels import Kernels
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron, SpikingNeuron
from tests import graphs
from tests.runtime import toy
from tests.runtime.toy import At, Killed, assert_same_run, killed

STEPS = 5
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
NEURONS = {
    "hard": Neuron(),
    "soft": Neuron(reset="soft", decay=0.9),
    "arctan": Neuron(surrogate="arctan"),
    "learnt hard": Neuron(learn_decay=True, learn_threshold=True),
    "learnt soft": Neuron(learn_decay=True, learn_threshold=True, reset="soft"),
}


def network(neuron: Neuron, norms: bool, encoder: str = "direct", compiled: bool = False) -> SpikingNetwork:
    graph = graphs.spiking(neuron=neuron)
    own = {name: tensor for name, tensor in fresh_tensors(graph, 0).items() if tensor.numel() == 1}  # what neurons learn
    tensors = {**graphs.random_tensors(graph), **own}
    if not norms:
        graph, tensors = fold(graph, tensors)
    return SpikingNetwork(graph, tensors, STEPS, encoder, compiled=compiled)


def learnt(made: SpikingNetwork, chunk: int | None) -> dict[str, Tensor]:
    """Logits, gradients and buffers of one batch."""
    made.time_chunk = chunk
    torch.manual_seed(0)
    logits = made(IMAGES)
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    (logits * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in made.named_parameters() if parameter.grad is not None}
    return {"logits": logits.detach(), **gradients, **dict(made.named_buffers())}


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("encoder", ["direct", "poisson"])
def test_without_batch_norm_the_spikes_are_the_same_bits(chunk: int, encoder: str) -> None:
    for neuron in NEURONS.values():
        whole = learnt(network(neuron, norms=False, encoder=encoder), None)
        parts = learnt(network(neuron, norms=False, encoder=encoder), chunk)
        assert torch.equal(whole["logits"], parts["logits"])
        assert whole["logits"].unique().numel() > 10
        for name, tensor in whole.items():
            assert torch.allclose(parts[name], tensor, rtol=1e-4, atol=1e-5), name


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("compiled", [False, True])
def test_in_evaluation_batch_norm_changes_nothing(compiled: bool) -> None:
    whole, parts = (learnt(network(Neuron(), norms=True, compiled=compiled).eval(), chunk) for chunk in (None, 2))
    assert torch.equal(whole["logits"], parts["logits"])
    assert all(torch.allclose(parts[name], tensor, rtol=1e-4, atol=1e-5) for name, tensor in whole.items())
    with torch.inference_mode():
        made = network(Neuron(), norms=True, compiled=compiled).eval()
        made.time_chunk = 3
        assert torch.equal(made(IMAGES), whole["logits"])


@pytest.mark.usefixtures("uncompiled")
def test_potentials_are_carried_in_chunks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def noted(neuron: Neuron, steps: int, x: Tensor, compiled: bool, code: torch.dtype | None, carries: bool) -> Kernels:
        asked.append(carries)
        return chosen(neuron, steps, x, compiled, code, carries)

    monkeypatch.setattr(fused, "chosen", noted)
    made = network(Neuron(), norms=True, compiled=True)
    learnt(made, None)
    assert asked
    assert not any(asked)
    asked.clear()
    learnt(made, 2)
    assert all(asked)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("compiled", [False, True])
def test_computing_a_chunk_again_moves_no_running_statistics(compiled: bool) -> None:
    made = network(Neuron(), norms=True, compiled=compiled).train()
    made.time_chunk = 2
    begun = {name: buffer.clone() for name, buffer in made.named_buffers()}
    logits = made(IMAGES)
    moved = {name: buffer.clone() for name, buffer in made.named_buffers()}
    logits.square().sum().backward()
    assert all(torch.equal(buffer, moved[name]) for name, buffer in made.named_buffers())
    assert not any(torch.equal(buffer, begun[name]) for name, buffer in moved.items())


class Norm(nn.Module):
    """A batch norm alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, momentum=0.3)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(x)
        return normalised


def given(x: Tensor, images: int = 4) -> Callable[[int], Tensor]:
    """``x`` (T*B, ...) a few steps at a time."""
    left = iter(x.split(images))
    return lambda steps: torch.cat([next(left) for _ in range(steps)])


def with_dropout(neuron: Neuron) -> Graph:
    """The network with a dropout behind its first neuron."""
    graph = graphs.spiking(neuron=neuron)
    first = graph.of("neuron")[0]
    nodes = []
    for node in graph:
        nodes.append(replace(node, inputs=tuple("drop" if name == first.name else name for name in node.inputs)))
        if node == first:
            nodes.append(Node("drop", "dropout", (first.name,), {"p": 0.5}, first.shape))
    return Graph(tuple(nodes))


@pytest.mark.parametrize("encoder", ["direct", "poisson"])
def test_a_dropout_takes_the_same_values_at_every_step_of_every_chunk(encoder: str) -> None:
    graph, tensors = fold(with_dropout(Neuron()), graphs.random_tensors(with_dropout(Neuron())))
    whole, parts = (learnt(SpikingNetwork(graph, tensors, STEPS, encoder).train(), chunk) for chunk in (None, 2))
    assert torch.equal(whole["logits"], parts["logits"])
    assert all(torch.allclose(parts[name], tensor, rtol=1e-4, atol=1e-5) for name, tensor in whole.items())


def test_another_forward_before_the_backward_does_not_change_what_was_dropped() -> None:
    graph, tensors = fold(with_dropout(Neuron()), graphs.random_tensors(with_dropout(Neuron())))
    found = []
    for disturbed in (False, True):
        made = SpikingNetwork(graph, tensors, STEPS).train()
        made.time_chunk = 2
        torch.manual_seed(0)
        logits = made(IMAGES)
        if disturbed:
            made(IMAGES)
        logits.sum().backward()
        found.append([parameter.grad for parameter in made.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True) if pair[0] is not None)


def test_running_statistics_move_once_by_the_mean_of_the_chunks() -> None:
    body, steps = Norm(), torch.randn(5 * 4, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    found = chunked(body, given(steps.requires_grad_()), [], 5, 2, constant=False)[0].flatten(0, 1)
    chunks = [steps[:8], steps[8:16], steps[16:]]
    mean = sum(share * part.mean((0, 2, 3)) for share, part in zip((0.4, 0.4, 0.2), chunks, strict=True))
    assert torch.allclose(body.norm.running_mean, 0.3 * mean, atol=1e-6)
    for part, own in zip(chunks, found.split([8, 8, 4]), strict=True):
        assert torch.allclose(own, nn.BatchNorm2d(3)(part), atol=1e-6)
    before = body.norm.running_mean.clone()
    found.square().sum().backward()  # computes the chunks again
    assert torch.equal(body.norm.running_mean, before)
    assert body.norm.momentum == 0.3


def saved(made: SpikingNetwork) -> int:
    """Bytes that autograd keeps for the backward of one batch."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        made(IMAGES)
    return sum(kept.values())


def test_what_is_kept_between_forward_and_backward_does_not_grow_with_the_steps() -> None:
    """Of each chunk its neurons' potentials are kept, a small part of its activations."""
    found = {}
    for steps in (8, 32):
        made = network(Neuron(), norms=True)
        made.time_steps = steps
        whole = saved(made)
        made.time_chunk = 8
        found[steps] = whole, saved(made)
    assert found[32][0] > 3.5 * found[8][0]
    assert found[32][1] < found[32][0] / 10


def test_the_network_is_left_as_it_was() -> None:
    made = network(Neuron(), norms=True)
    before = learnt(network(Neuron(), norms=True), None)["logits"]
    learnt(made, 2)
    made.time_chunk = None
    fresh = network(Neuron(), norms=True)
    fresh.load_state_dict(made.state_dict())
    assert torch.equal(made(IMAGES), fresh(IMAGES))
    assert before.shape == made(IMAGES).shape


def test_a_chunked_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings = ["run.time_chunk=2", "run.epochs=2", "run.accumulate=2", "run.recalibrate_batches=1"]
    toy.run(tmp_path / "undisturbed", settings)
    with pytest.raises(Killed):
        toy.run(tmp_path / "run", [*settings, "run.save_minutes=1e-9"], watcher=At(2, 2, killed))
    toy.run(tmp_path / "run", settings, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
    toy.run(tmp_path / "whole", settings[1:])
    assert toy.metrics(tmp_path / "whole")[0]["train_loss"] != toy.metrics(tmp_path / "run")[0]["train_loss"]


@pytest.mark.usefixtures("uncompiled")
def test_compiled_kernels_train_in_chunks(tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        trained = SpikingNetwork(toy.GRAPH, fresh_tensors(toy.GRAPH, 0), toy.STEPS, compiled=compiled)
        toy.run(tmp_path / str(compiled), ["run.time_chunk=2", "run.epochs=1"], trained=trained)
        losses.append(toy.metrics(tmp_path / str(compiled))[0]["train_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)  # but for the spikes that rounding flips


def test_only_a_spiking_network_has_chunks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.time_chunk = 2 needs a spiking network\nSet run\.time_chunk=0"):
        toy.run(tmp_path / "run", ["run.time_chunk=2"], trained=nn.Linear(3, 4))
    assert not (tmp_path / "run").exists()


def test_maps_for_comparison_are_the_same_means_over_time() -> None:
    graph = graphs.spiking()
    graph, tensors = fold(graph, graphs.random_tensors(graph))
    made = SpikingNetwork(graph, tensors, STEPS, taps=("layer1.0.act2", "layer2.0.add"))
    found = {}
    for chunk in (None, 2):
        made.time_chunk = chunk
        logits, maps = made(IMAGES, maps=True)
        sum(value.square().sum() for value in maps).backward()
        found[chunk] = [logits, *maps, made.body.get_parameter("conv1.weight").grad.clone()]
        made.zero_grad()
    assert len(found[None]) == 4
    assert all(torch.allclose(whole, part, atol=1e-5, rtol=1e-4) for whole, part in zip(found[None], found[2], strict=True))


@pytest.mark.parametrize("encoder", ["direct", "poisson"])
def test_a_stream_gives_the_same_logits_and_keeps_none(encoder: str) -> None:
    made = network(NEURONS["soft"], norms=True, encoder=encoder).eval()
    torch.manual_seed(0)
    with torch.inference_mode():
        whole = made(IMAGES)
    torch.manual_seed(0)
    parts = list(made.stream(IMAGES, 2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat(parts), whole)
    assert made.time_steps == STEPS
    assert all(module.start is None and not module.carries for module in made.modules() if isinstance(module, SpikingNeuron))


def test_as_many_steps_at_a_time_as_the_largest_map_allows() -> None:
    graph = graphs.spiking()
    largest = max(math.prod(node.shape) for node in graph)
    assert steps_at_once(graph, 3, 30 * largest + 1) == 10
    assert steps_at_once(graph, 31, 30 * largest) == 1
