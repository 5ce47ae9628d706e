from __future__ import annotations

from typing import Any

import pytest
import torch

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.readout import Readout, readout_from_json
from tests.graphs import random_tensors

STEPS = torch.tensor([[[4.0, 0.0]], [[0.0, 2.0]], [[1.0, 7.0]]])


def test_the_mean_by_hand() -> None:
    assert Readout().after_each_step(STEPS).tolist() == [[[4, 0]], [[2, 1]], [[pytest.approx(5 / 3), 3]]]


def test_a_leaking_membrane_by_hand() -> None:
    # decay 1/2. U of class 0: 4 | 2 | 1 + 1 = 2; of class 1: 0 | 2 | 1 + 7 = 8. Weights 1, 3/2, 7/4.
    found = Readout("membrane", 0.5).after_each_step(STEPS)[:, 0].flatten().tolist()
    assert found == pytest.approx([4, 0, 4 / 3, 4 / 3, 8 / 7, 32 / 7])


@pytest.mark.parametrize("readout", [Readout(), Readout("membrane"), Readout("membrane", 0.7)])
def test_the_answer_is_that_after_the_last_step(readout: Readout) -> None:
    logits = torch.randn(5, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(readout(logits), readout.after_each_step(logits)[-1])
    torch.testing.assert_close(readout(logits[:2]), readout.after_each_step(logits)[1])


def test_a_membrane_without_leak_equals_the_mean_and_the_head_on_mean_features(tiny_spiking_graph: Graph) -> None:
    tensors = random_tensors(tiny_spiking_graph)
    network = SpikingNetwork(tiny_spiking_graph, tensors, 4).eval()
    seen: list[torch.Tensor] = []
    network.body.get_submodule("fc").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    logits = network(torch.randn(3, 3, 8, 8))
    head = torch.nn.functional.linear(seen[0].unflatten(0, (4, 3)).mean(0), tensors["fc.weight"], tensors["fc.bias"])
    torch.testing.assert_close(Readout("membrane")(logits), head)
    torch.testing.assert_close(Readout()(logits), head)


def test_gradients_pass_through_the_leak() -> None:
    logits = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Readout("membrane", 0.6), logits)


def test_json_and_back() -> None:
    for readout in (Readout(), Readout("membrane", 0.9)):
        assert readout_from_json(readout.to_json()) == readout


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"kind": "vote", "decay": 1}, "unknown readout 'vote'"),
        ({"kind": "membrane", "decay": 0}, "above 0"),
        ({"kind": "membrane", "decay": float("nan")}, "above 0"),
        ({"kind": "mean", "decay": 0.5}, "has no leak"),
        ({"kind": "mean"}, "kind and decay"),
        ({"kind": "mean", "decay": True}, "kind and decay"),
        ([], "kind and decay"),
    ],
)
def test_what_is_no_readout(value: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        readout_from_json(value)
