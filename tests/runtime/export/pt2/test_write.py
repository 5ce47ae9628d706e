from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.compare import folded, plain
from idsnn_convert.runtime.export.pt2.write import ABOUT, WrittenOut, to_pt2
from idsnn_convert.runtime.neurons import Neuron, multi_step
from idsnn_convert.runtime.readout import Readout
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3)
DRAW = torch.Generator().manual_seed(0)


def loaded(content: bytes) -> torch.nn.Module:
    return torch.export.load(io.BytesIO(content)).module()


@pytest.mark.parametrize("neuron", [{}, {"reset": "soft", "decay": 0.7}, {"kind": "if", "decay": 1.0}])
@pytest.mark.parametrize("repeats", [True, False])
def test_a_neuron_written_out_fires_as_the_runtimes_to_the_bit(neuron: dict[str, Any], repeats: bool) -> None:
    ours = Neuron(**neuron)
    currents = torch.randn(5, 2, 4, generator=DRAW)
    if repeats:
        currents = currents[:1].expand(5, 2, 4)
    found = WrittenOut(ours, 5, repeats)(currents[0] if repeats else currents.flatten(0, 1))
    assert torch.equal(found.unflatten(0, (5, 2)), multi_step(currents, ours))


@pytest.mark.parametrize("keep", [True, False])
def test_it_takes_any_batch_and_agrees_to_the_bit(keep: bool) -> None:
    program = loaded(to_pt2(STUDENT, time_steps=2, folded=not keep))
    network = plain(STUDENT if keep else folded(STUDENT), steps=2)
    for batch in (1, 2, 5):
        images = torch.randn(batch, 3, 8, 8, generator=DRAW)
        with torch.no_grad():
            want = network(images)
        answer, per_step = program(images)
        assert torch.equal(per_step, want)
        assert torch.equal(answer, want.mean(0))


def test_the_file_says_what_it_is() -> None:
    told: dict[str, Any] = {ABOUT: ""}
    torch.export.load(io.BytesIO(to_pt2(STUDENT, time_steps=2)), extra_files=told)
    assert json.loads(told[ABOUT])["time_steps"] == 2


def test_a_network_without_neurons_gives_its_logits_alone() -> None:
    ann = Checkpoint(graphs.ann(), graphs.random_tensors(graphs.ann()), 1)
    assert loaded(to_pt2(ann))(torch.zeros(3, 3, 8, 8)).shape == (3, graphs.CLASSES)


def test_learnt_numbers_and_a_leaky_readout_are_in_it() -> None:
    graph = graphs.spiking(neuron=Neuron(learn_decay=True, learn_threshold=True))
    tensors = graphs.random_tensors(graph)
    learnt = Checkpoint(graph, tensors, 3, readout=Readout("membrane", 0.5))
    images = torch.randn(2, 3, 8, 8, generator=DRAW)
    answer, _ = loaded(to_pt2(learnt, folded=False))(images)
    with torch.no_grad():
        assert torch.allclose(answer, learnt.readout(plain(learnt)(images)), atol=1e-5)


def test_an_encoder_that_draws_is_refused() -> None:
    with pytest.raises(UserError, match="the poisson encoder draws random numbers"):
        to_pt2(replace(STUDENT, encoder="poisson"))
