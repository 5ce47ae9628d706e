from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from idsnn_convert.runtime.kernels import STEPS_PER_BYTE, Norm, can_compile, kernels, rows_per_sum
from idsnn_convert.runtime.neurons import Neuron, SpikingNeuron, multi_step


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 8, 13])
def test_two_bits_a_step_hold_what_the_rectangle_needs(steps: int) -> None:
    x = torch.randn(steps, 6, 3)
    one, zero = torch.ones(3), torch.zeros(3)
    spikes, code, slopes, end = kernels(Neuron(), steps, False).forward(x, one, zero, None, None)
    assert slopes is None
    assert end is None
    assert code.dtype == torch.uint8
    assert code.shape == (-(-steps // STEPS_PER_BYTE), 6, 3)
    for t in range(steps):
        fired = (code[t // STEPS_PER_BYTE] >> (2 * (t % STEPS_PER_BYTE))) & 1
        assert torch.equal(fired.float(), spikes[t])


def test_spikes_equal_the_neuron_on_scaled_and_shifted_currents() -> None:
    x, added = torch.randn(4, 6, 3, dtype=torch.float64), torch.randn(4, 6, 3, dtype=torch.float64)
    scale, shift = torch.rand(3, dtype=torch.float64) + 0.5, torch.randn(3, dtype=torch.float64)
    own = kernels(Neuron(), 4, False)
    wanted = multi_step(x * scale + shift + added, Neuron())
    assert torch.equal(own.infer(x, scale, shift, added, None)[0], wanted)
    assert torch.equal(own.forward(x, scale, shift, added, None)[0], wanted)


@pytest.mark.parametrize("training", [False, True])
def test_norm_gradients_are_those_of_autograd(training: bool) -> None:
    x, grad = torch.randn(4, 6, 3, dtype=torch.float64), torch.randn(4, 6, 3, dtype=torch.float64)
    weight = (torch.rand(3, dtype=torch.float64) + 0.5).requires_grad_()
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    mean, variance = x.mean((0, 1)), x.var((0, 1), correction=0)
    x.requires_grad_()
    running = (None if training else mean.clone(), None if training else variance.clone())
    normed = F.batch_norm(x.flatten(0, 1), running[0], running[1], weight, bias, training, eps=1e-30).view_as(x)
    wanted = torch.autograd.grad(multi_step(normed, Neuron()), [x, weight, bias], grad)
    own, x = kernels(Neuron(), 4, False), x.detach()
    norm = Norm(weight.detach(), mean, variance.rsqrt(), training)
    scale = norm.weight * norm.invstd
    _, code, slopes, _ = own.forward(x, scale, -mean * scale, None, None)
    dx, dresidual, dstart, dweight, dbias = own.norm(grad, code, slopes, None, x, norm, True)
    torch.testing.assert_close((dx, dweight, dbias), wanted)
    assert dstart is None
    torch.testing.assert_close(dresidual, own.currents(grad, code, slopes, None)[0])


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("surrogate", ["rectangle", "arctan"])
@pytest.mark.parametrize("steps", [1, 5])
def test_those_that_carry_go_on_from_a_potential_and_hand_one_on(reset: str, surrogate: str, steps: int) -> None:
    neuron = Neuron(decay=0.9, reset=reset, surrogate=surrogate)
    x, grad = (torch.randn(steps, 6, 3, dtype=torch.float64) for _ in range(2))
    start, dend = (torch.randn(6, 3, dtype=torch.float64) for _ in range(2))
    layer = SpikingNeuron(neuron, steps)
    layer.carries, layer.start = True, start.clone().requires_grad_()
    current = x.flatten(0, 1).requires_grad_()
    wanted = layer(current)
    assert layer.end is not None
    gradients = torch.autograd.grad([wanted, layer.end], [current, layer.start], [grad.flatten(0, 1), dend])
    own = kernels(neuron, steps, False, carries=True)
    spikes, code, slopes, end = own.forward(x, None, None, None, start)
    assert torch.equal(spikes.flatten(0, 1), wanted)
    torch.testing.assert_close(end, layer.end.detach())
    inferred, left = own.infer(x, None, None, None, start)
    assert torch.equal(inferred, spikes)
    assert left is not None
    assert torch.equal(left, end)
    dx, dstart = own.currents(grad, code, slopes, dend)
    torch.testing.assert_close((dx.flatten(0, 1), dstart), gradients)


@pytest.mark.parametrize(("rows", "expected"), [(128, 64), (147, 49), (67, 1), (1, 1), (32, 32)])
def test_rows_are_summed_in_equal_parts(rows: int, expected: int) -> None:
    assert rows_per_sum(rows) == expected


def test_the_same_neuron_and_steps_share_their_functions() -> None:
    assert kernels(Neuron(), 4, False) is kernels(Neuron(), 4, False)
    assert kernels(Neuron(), 4, False) is not kernels(Neuron(), 5, False)
    assert kernels(Neuron(), 4, False) is not kernels(Neuron(), 4, False, carries=True)


def test_can_compile_looks_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not can_compile(torch.device("cpu"))
