from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.passes.equal import OUTPUT, Equality, Reference, compare, module_reference, program_reference
from idsnn_convert.passes.load.live import teacher_from_module
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.trace import canonical, exported, trace
from idsnn_convert.passes.types import Canonical
from tests.passes.families.renamed import lively
from tests.passes.made import spec

SPEC = spec()
SHAPE = SPEC.input_shape


@pytest.fixture(scope="module")
def network() -> ResNet:
    return lively(SPEC)


@pytest.fixture(scope="module")
def traced(network: ResNet) -> Canonical:
    return trace(network, SHAPE)


def test_a_graph_and_its_module_are_equal_node_by_node(network: ResNet, traced: Canonical) -> None:
    network.train()
    found = compare(traced.graph, traced.tensors, module_reference(network, SHAPE))
    assert network.training, "its mode is restored"
    assert not any(part._forward_hooks for part in network.modules())
    assert found.first_different == ""
    assert found.max_difference < 1e-5
    assert found.sqnr_db > 100
    layers = [node for node in traced.graph if node.op not in ("input", "output")]
    assert found.nodes == len(layers) + 1, "every node is a layer of this module"


@pytest.mark.parametrize("name", ["layer1.1.conv2", "layer2.0.downsample.1", "fc"])
def test_the_first_node_that_differs_is_named(network: ResNet, traced: Canonical, name: str) -> None:
    tensors = {**traced.tensors, f"{name}.weight": traced.tensors[f"{name}.weight"] * 1.01}
    found = compare(traced.graph, tensors, module_reference(network, SHAPE))
    assert found.first_different == name
    assert 1e-3 < found.different_by < 0.1
    assert name in found.describe()


def test_a_wrong_operation_is_named(network: ResNet, traced: Canonical) -> None:
    site = traced.graph["layer2.1.relu1"]
    wrong = traced.graph.with_nodes({site.name: replace(site, attrs={"kind": "silu"})})
    assert compare(wrong, traced.tensors, module_reference(network, SHAPE)).first_different == site.name


def test_a_layer_called_twice_is_compared_call_by_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.conv(x))
            x = self.relu(self.conv(x))
            logits: Tensor = self.fc(x.mean((2, 3)))
            return logits

    module = Twice()
    traced = trace(module, (3, 8, 8))
    found = compare(traced.graph, traced.tensors, module_reference(module, (3, 8, 8)))
    assert (found.first_different, found.nodes) == ("", 6)


def test_a_program_is_followed_call_by_call(network: ResNet) -> None:
    program = exported(network, SHAPE)
    traced = canonical(program)
    reference = program_reference(program, SHAPE, traced.calls)
    assert reference is not None
    found = compare(traced.graph, traced.tensors, reference)
    assert (found.first_different, found.nodes) == ("", len(traced.graph) - 1)
    tensors = {**traced.tensors, "layer1.0.bn2.bias": traced.tensors["layer1.0.bn2.bias"] + 1}
    assert compare(traced.graph, tensors, reference).first_different == "layer1.0.bn2"
    assert program_reference(exported(lively(SPEC).double(), SHAPE), SHAPE, {}) is None, "its own type is another"


def test_a_module_of_another_type_is_run_in_float32() -> None:
    network = lively(SPEC).double()
    traced = trace(network, SHAPE)
    tensors = {name: tensor.float() for name, tensor in traced.tensors.items()}
    assert compare(traced.graph, tensors, module_reference(network, SHAPE)).first_different == ""
    assert next(network.parameters()).dtype == torch.float64


def given(**values: Tensor) -> Reference:
    def run(images: Tensor) -> Mapping[str, Tensor]:
        return values

    return Reference("what was written down", SHAPE, run)


def test_other_shapes_and_numbers_that_are_none_differ(network: ResNet, traced: Canonical) -> None:
    right = module_reference(network, SHAPE).run(torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0)))
    logits = right[OUTPUT].detach()
    cases = {"": logits, "conv1": logits, OUTPUT: torch.full_like(logits, torch.nan)}
    for name, value in cases.items():
        found = compare(traced.graph, traced.tensors, given(**{OUTPUT: logits, **({name: value} if name else {})}))
        assert found.first_different == name


def test_what_is_said() -> None:
    assert Equality("its module", 57, 0.0, math.inf).describe() == "max difference 0, bit for bit, 57 nodes against its module"
    assert Equality("x", 5, 1.23e-6, 131.6).describe() == "max difference 1.2e-06, SQNR 132 dB, 5 nodes against x"
    assert Equality("x", 5, 0.5, 8.0, "layer1.0.conv1", 0.25).describe() == (
        "layer1.0.conv1 is the first node to differ from x, by 0.25"
    )


class _OverChannels(nn.Module):
    """A residual block with an ECA gate (Wang et al. 2020): its convolution goes over the channels of a pooled map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.gate, self.fc = nn.Conv1d(1, 1, 3, padding=1, bias=False), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.conv1(x))
        y = self.conv2(x)
        weights = self.gate(y.mean((2, 3)).view(-1, 1, 4)).sigmoid().view(-1, 4, 1, 1)
        return self.fc(torch.relu(x + y * weights).mean((2, 3)))


def test_a_convolution_over_channels_is_compared_although_it_has_another_rank() -> None:
    teacher = teacher_from_module(_OverChannels(), input_shape=(3, 8, 8))
    assert teacher.reference is not None
    found = compare(teacher.graph, teacher.tensors, teacher.reference)
    assert not found.first_different
    wrong = {**teacher.tensors, "gate.weight": -teacher.tensors["gate.weight"]}
    assert compare(teacher.graph, wrong, teacher.reference).first_different == "gate"
