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


def carrying(layer: SpikingNeuron, start: Tensor | None) -> SpikingNeuron:
    layer.carries, layer.start = True, start
    return layer


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    found = torch.randn(shape, dtype=dtype)
    return found.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else found


def compare(
    neuron: Neuron, steps: int, shape: tuple[int, ...], *, training: bool, residual: bool, compiled: bool, carries: bool = False
) -> None:
    """Same spikes, same gradients of x, residual, weight and bias, same running statistics, in float64; and if the potential
    is carried, the same one handed on, the same gradient of the one that came in."""
    torch.manual_seed(7)
    x, added, seen = (drawn(*shape) for _ in range(3))
    begun, weights = (drawn(shape[0] // steps, *shape[1:]) for _ in range(2))
    results: list[list[Tensor]] = []
    for fuse in (False, True):
        norm, layer = norm_of(shape[1], training, torch.float64), SpikingNeuron(neuron, steps)
        inputs = [x.clone().requires_grad_(), *([added.clone().requires_grad_()] if residual else [])]
        start = begun.clone().requires_grad_()
        if carries:
            carrying(layer, start)
        spikes = FusedNeuron(layer, norm, compiled)(*inputs) if fuse else layer(norm(inputs[0]) + sum(inputs[1:]))
        loss, asked = (spikes * seen).sum(), [*inputs, norm.weight, norm.bias]
        if layer.end is not None:
            loss, asked = loss + (layer.end * weights).sum(), [*asked, start]
        grads = torch.autograd.grad(loss, asked)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        left = [] if layer.end is None else [layer.end.detach()]
        results.append([spikes.detach(), *grads, norm.running_mean, norm.running_var, *left])
    assert len(results[1]) == 6 + residual + 2 * carries
    assert torch.equal(results[0][0], results[1][0])
    for wanted, given in zip(results[0][1:], results[1][1:], strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{n.kind}-{n.reset}-{n.surrogate}")
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("carries", [False, True])
def test_equals_the_layers_one_by_one(neuron: Neuron, residual: bool, training: bool, carries: bool) -> None:
    compare(neuron, 4, (8, 5, 3, 4), training=training, residual=residual, compiled=False, carries=carries)


@pytest.mark.parametrize(("steps", "shape"), [(1, (2, 3, 2, 2)), (5, (5, 1, 1, 3)), (9, (18, 7, 5, 1)), (4, (4, 17, 3, 3))])
@pytest.mark.parametrize("carries", [False, True])
def test_odd_shapes_and_numbers_of_steps(steps: int, shape: tuple[int, ...], carries: bool) -> None:
    compare(Neuron(), steps, shape, training=True, residual=True, compiled=False, carries=carries)


@needs_compiler
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("carries", [False, True])
def test_compiled_equals_the_layers_one_by_one(training: bool, carries: bool) -> None:
    compare(Neuron(), 4, (8, 5, 3, 4), training=training, residual=True, compiled=True, carries=carries)


def in_parts(fused: FusedNeuron, layer: SpikingNeuron, x: Tensor, added: Tensor, lengths: tuple[int, ...]) -> list[Tensor]:
    """Spikes of the steps (T, B, ...), some at a time, and the last potential; both with what autograd knows of them."""
    end, parts, first = None, [], 0
    for steps in lengths:
        layer.time_steps, now = steps, slice(first, first + steps)
        carrying(layer, end)
        parts.append(fused(x[now].flatten(0, 1), added[now].flatten(0, 1)))
        end, first = layer.end, first + steps
    assert end is not None
    return [torch.cat(parts), end]


@pytest.mark.parametrize(
    ("reset", "compiled"), [("hard", False), ("soft", False), pytest.param("hard", True, marks=needs_compiler)]
)
def test_steps_in_parts_give_the_bits_of_all_steps_at_once(reset: str, compiled: bool) -> None:
    """The decay is no power of two, so another order of rounding would tell."""
    torch.manual_seed(1)
    layer = SpikingNeuron(Neuron(decay=0.9, reset=reset), 4)
    fused, x, added = (
        FusedNeuron(layer, norm_of(3, False, torch.float32), compiled),
        torch.randn(4, 2, 3, 4, 4),
        torch.rand(4, 2, 3, 4, 4),
    )
    lengths = (2, 2) if compiled else (1, 2, 1)
    with torch.no_grad():
        whole, parts = (in_parts(fused, layer, x, added, given) for given in ((4,), lengths))
        layer.carries, layer.start, layer.time_steps = False, None, 4
        assert torch.equal(fused(x.flatten(0, 1), added.flatten(0, 1)), whole[0])
    assert all(torch.equal(*pair) for pair in zip(whole, parts, strict=True))
    if compiled:
        return  # the rest would take two more compilations
    x.requires_grad_()
    learnt = [in_parts(fused, layer, x, added, given) for given in ((4,), lengths)]
    assert all(torch.equal(*pair) for found in learnt for pair in zip(found, whole, strict=True))
    weights = torch.randn(whole[0].shape)
    one, two = (torch.autograd.grad([*found], x, [weights, torch.ones_like(found[1])])[0] for found in learnt)
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-7)


def test_a_potential_is_float32_where_maps_are_in_half_precision() -> None:
    torch.manual_seed(2)
    layer, x = SpikingNeuron(Neuron(), 2), drawn(4, 3, 5, 5, dtype=torch.bfloat16)
    start = drawn(2, 3, 5, 5, dtype=torch.float32).requires_grad_()
    fused = FusedNeuron(carrying(layer, start), None, compiled=False)
    spikes = fused(x.requires_grad_())
    assert layer.end is not None
    (spikes.float().sum() + layer.end.sum()).backward()
    assert [each.dtype for each in (spikes, x.grad, layer.end, start.grad)] == [torch.bfloat16] * 2 + [torch.float32] * 2  # type: ignore[union-attr]
    with torch.no_grad():
        assert torch.equal(fused(x), spikes)


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (4, 7), (0, 7)])
def test_features_and_no_images_carry_too(shape: tuple[int, ...]) -> None:
    plain, own = (carrying(SpikingNeuron(Neuron(decay=0.9), 2), None) for _ in range(2))
    fused, x = FusedNeuron(own, None, compiled=False), drawn(*shape)
    for _ in range(2):
        assert torch.equal(fused(x), plain(x))
        assert own.end is not None
        assert plain.end is not None
        torch.testing.assert_close(own.end, plain.end)
        own.start = plain.start = plain.end


def test_potentials_that_are_not_channels_last() -> None:
    torch.manual_seed(4)
    layer, x, start = SpikingNeuron(Neuron(), 2), drawn(4, 3, 5, 5), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    fused, found = FusedNeuron(layer, None, compiled=False), []
    for begun in (start, start.contiguous(memory_format=torch.channels_last)):
        carrying(layer, begun.requires_grad_())
        fused(x)
        assert layer.end is not None
        weights = torch.linspace(0, 1, start.numel(), dtype=torch.float64).view_as(start)
        found.append((layer.end.detach(), *torch.autograd.grad((layer.end * weights).sum(), begun)))
    torch.testing.assert_close(*found, rtol=0, atol=0)


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
@pytest.mark.parametrize("carries", [False, True])
def test_an_input_without_time_axis_equals_its_repetition(training: bool, carries: bool) -> None:
    torch.manual_seed(3)
    start = torch.randn(2, 5, 3, 4, dtype=torch.float64) if carries else None
    x, seen = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(8, 5, 3, 4, dtype=torch.float64)
    results: list[list[Tensor]] = []
    for fuse in (False, True):
        norm, layer = norm_of(5, training, torch.float64), SpikingNeuron(Neuron(), 4, repeats=True)
        layer.carries, layer.start = carries, start
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
