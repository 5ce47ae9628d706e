"""Batch norm + residual + neuron in one kernel against the three layers one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime.fused import FusedNeuron
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.neurons import Neuron, SpikingNeuron
from idsnn_convert.runtime.surrogates import SURROGATES

NEURONS = [
    Neuron(kind=kind, decay=decay, reset=reset, surrogate=name)
    for kind, decay in (("lif", 0.25), ("if", 1.0))
    for reset in ("hard", "soft")
    for name in SURROGATES
]
needs_compiler = pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no C++ compiler here")


def norm_of(channels: int, training: bool, dtype: torch.dtype) -> nn.BatchNorm2d:
    torch.manual_seed(5)
    norm = nn.BatchNorm2d(channels).to(dtype).train(training)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 1.5)
    return norm


def compare(neuron: Neuron, steps: int, shape: tuple[int, ...], *, training: bool, residual: bool, compiled: bool) -> None:
    """Same spikes, same gradients of x, residual, weight and bias, same running statistics, in float64."""
    torch.manual_seed(7)
    x, added, seen = (torch.randn(shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last) for _ in range(3))
    results: list[list[Tensor]] = []
    for fuse in (False, True):
        norm, layer = norm_of(shape[1], training, torch.float64), SpikingNeuron(neuron, steps)
        inputs = [x.clone().requires_grad_(), *([added.clone().requires_grad_()] if residual else [])]
        spikes = FusedNeuron(layer, norm, compiled)(*inputs) if fuse else layer(norm(inputs[0]) + sum(inputs[1:]))
        grads = torch.autograd.grad((spikes * seen).sum(), [*inputs, norm.weight, norm.bias])
        assert norm.running_mean is not None
        assert norm.running_var is not None
        results.append([spikes.detach(), *grads, norm.running_mean, norm.running_var])
    assert torch.equal(results[0][0], results[1][0])
    for wanted, given in zip(results[0][1:], results[1][1:], strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{n.kind}-{n.reset}-{n.surrogate}")
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_layers_one_by_one(neuron: Neuron, residual: bool, training: bool) -> None:
    compare(neuron, 4, (8, 5, 3, 4), training=training, residual=residual, compiled=False)


@pytest.mark.parametrize(("steps", "shape"), [(1, (2, 3, 2, 2)), (5, (5, 1, 1, 3)), (9, (18, 7, 5, 1)), (4, (4, 17, 3, 3))])
def test_odd_shapes_and_numbers_of_steps(steps: int, shape: tuple[int, ...]) -> None:
    compare(Neuron(), steps, shape, training=True, residual=True, compiled=False)


@needs_compiler
@pytest.mark.parametrize("training", [False, True])
def test_compiled_equals_the_layers_one_by_one(training: bool) -> None:
    compare(Neuron(), 4, (8, 5, 3, 4), training=training, residual=True, compiled=True)


def test_memory_that_is_not_channels_last_gives_the_same() -> None:
    norm, layer = norm_of(3, False, torch.float32), SpikingNeuron(Neuron(), 2)
    x = torch.randn(4, 3, 5, 5)
    fused = FusedNeuron(layer, norm, compiled=False)
    assert torch.equal(fused(x), fused(x.contiguous(memory_format=torch.channels_last)))
    assert fused(x).is_contiguous(memory_format=torch.channels_last)


def test_half_precision_keeps_its_type_and_float32_potentials() -> None:
    norm, layer = norm_of(3, True, torch.float32), SpikingNeuron(Neuron(), 2)
    x = torch.randn(4, 3, 5, 5).bfloat16().requires_grad_()
    spikes = FusedNeuron(layer, norm, compiled=False)(x)
    spikes.sum().backward()
    assert spikes.dtype == torch.bfloat16
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    assert norm.weight.grad is not None
    assert norm.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("training", [False, True])
def test_an_input_without_time_axis_equals_its_repetition(training: bool) -> None:
    torch.manual_seed(3)
    x, seen = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(8, 5, 3, 4, dtype=torch.float64)
    results: list[list[Tensor]] = []
    for fuse in (False, True):
        norm, layer = norm_of(5, training, torch.float64), SpikingNeuron(Neuron(), 4, repeats=True)
        image = x.clone().requires_grad_()
        spikes = FusedNeuron(layer, norm, compiled=False)(image) if fuse else layer(norm(image))
        assert norm.running_var is not None
        results.append(
            [spikes.detach(), *torch.autograd.grad((spikes * seen).sum(), [image, norm.weight, norm.bias]), norm.running_var]
        )
    for wanted, given in zip(*results, strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-11)


def test_without_gradient_nothing_but_the_spikes_is_made() -> None:
    norm, layer = norm_of(3, False, torch.float32), SpikingNeuron(Neuron(), 2)
    x = torch.randn(4, 3, 5, 5)
    with torch.no_grad():
        spikes = FusedNeuron(layer, norm, compiled=False)(x)
    assert not spikes.requires_grad
    assert torch.equal(spikes, layer(norm(x)))


def test_the_borrowed_layers_are_not_registered() -> None:
    module = FusedNeuron(SpikingNeuron(Neuron(), 2), norm_of(3, True, torch.float32))
    assert not list(module.parameters())
    assert not module.state_dict()
