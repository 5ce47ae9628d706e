from __future__ import annotations

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.inference import Inference
from idsnn_convert.runtime.measures import EarlyExits
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.readout import Readout
from tests import graphs

STEPS = 6
IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()


def checkpoint(neuron: Neuron | None = None, readout: Readout | None = None) -> Checkpoint:
    graph = graphs.spiking(neuron=neuron or Neuron())
    tensors = {name: tensor.double() for name, tensor in graphs.random_tensors(graph).items()}
    tensors = {name: 4 * tensor if name.startswith("fc") else tensor for name, tensor in tensors.items()}  # to be sure of more
    return Checkpoint(graph, tensors, STEPS, readout=readout or Readout())


def inference(made: Checkpoint, **settings: float) -> Inference:
    found = Inference(made, **settings)
    found.network.double()
    return found


def answers(made: Checkpoint) -> Tensor:
    """After 1, 2, ... T steps: (T, B, K)."""
    network = SpikingNetwork(made.graph, made.tensors, STEPS, readout=made.readout).double().eval()
    with torch.no_grad():
        return made.readout.after_each_step(network(IMAGES))


@pytest.mark.parametrize("neuron", [Neuron(), Neuron(reset="soft", decay=0.9), Neuron(kind="if", decay=1.0)])
@pytest.mark.parametrize("readout", [Readout(), Readout("membrane", 0.8)])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.usefixtures("uncompiled")
def test_each_image_stops_where_its_answer_is_sure_enough(neuron: Neuron, readout: Readout, compiled: bool) -> None:
    made = checkpoint(neuron, readout)
    wanted = answers(made)
    sure = wanted.softmax(-1).amax(-1)
    confidence = sure[:-1].median().item()
    found = inference(made, confidence=confidence, compiled=compiled)(IMAGES)
    exits = (sure >= confidence).index_put((torch.tensor(STEPS - 1),), torch.tensor(True)).int().argmax(0)
    assert found.steps.tolist() == (exits + 1).tolist()
    assert len(set(found.steps.tolist())) > 1
    torch.testing.assert_close(found.logits, wanted[exits, torch.arange(len(IMAGES))], rtol=1e-6, atol=1e-6)
    assert torch.equal(found.classes, found.logits.argmax(1))


def test_the_steps_are_those_that_an_evaluation_counts() -> None:
    made = checkpoint()
    counted = EarlyExits([0.6])
    counted(answers(made), torch.zeros(len(IMAGES), dtype=torch.int64))
    steps = inference(made, confidence=0.6)(IMAGES).steps
    assert torch.bincount(steps, minlength=STEPS + 1).tolist()[1:] == list(counted.found()[0].steps)


def test_without_a_confidence_all_steps_are_taken() -> None:
    made = checkpoint()
    found = inference(made)(IMAGES)
    assert found.steps.tolist() == [STEPS] * len(IMAGES)
    torch.testing.assert_close(found.logits, answers(made)[-1], rtol=1e-6, atol=1e-6)
    assert not found.logits.requires_grad
    assert not any(node.op == "batch_norm" for node in inference(made).network.graph)


def test_an_image_that_has_stopped_is_computed_no_further() -> None:
    runner = inference(checkpoint(), confidence=1e-9)  # everyone is sure at once
    sizes: list[int] = []
    runner.network.body.get_submodule("fc").register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    assert runner(IMAGES).steps.tolist() == [1] * len(IMAGES)
    assert sizes == [len(IMAGES)]


def test_two_calls_do_not_hear_of_each_other() -> None:
    runner = inference(checkpoint(), confidence=0.6)
    one, two = runner(IMAGES), runner(IMAGES)
    assert torch.equal(one.logits, two.logits)
    assert runner.network.time_steps == STEPS


def test_fewer_steps_and_no_images() -> None:
    runner = inference(checkpoint(), time_steps=2, confidence=1.0)
    assert runner(IMAGES).steps.max() == 2
    assert runner(IMAGES[:0]).logits.shape == (0, runner.network.graph.output_shape[-1])


@pytest.mark.parametrize("confidence", [0.0, 1.5, -1.0])
def test_a_confidence_out_of_range(confidence: float) -> None:
    with pytest.raises(UserError, match="above 0 and up to 1"):
        Inference(checkpoint(), confidence=confidence)
