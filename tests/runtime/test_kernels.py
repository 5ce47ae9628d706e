from __future__ import annotations

import pytest
import torch

from idsnn_convert.runtime.kernels import STEPS_PER_BYTE, can_compile, kernels
from idsnn_convert.runtime.neurons import Neuron, multi_step


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 8, 13])
def test_two_bits_a_step_hold_what_the_rectangle_needs(steps: int) -> None:
    x = torch.randn(steps, 6, 3)
    one, zero = torch.ones(3), torch.zeros(3)
    spikes, code, slopes = kernels(Neuron(), steps, False).forward(x, one, zero, None)
    assert slopes is None
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
    assert torch.equal(own.infer(x, scale, shift, added), wanted)
    assert torch.equal(own.forward(x, scale, shift, added)[0], wanted)


def test_backward_sums_are_those_of_a_batch_norm() -> None:
    x, grad = torch.randn(4, 6, 3, dtype=torch.float64), torch.randn(4, 6, 3, dtype=torch.float64)
    mean, invstd = torch.randn(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    own = kernels(Neuron(), 4, False)
    _, code, slopes = own.forward(x, torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), None)
    dx, total, dotted = own.backward(grad, code, slopes, x, mean, invstd)
    torch.testing.assert_close(total, dx.sum((0, 1)))
    torch.testing.assert_close(dotted, (dx * (x - mean) * invstd).sum((0, 1)))


def test_the_same_neuron_and_steps_share_their_functions() -> None:
    assert kernels(Neuron(), 4, False) is kernels(Neuron(), 4, False)
    assert kernels(Neuron(), 4, False) is not kernels(Neuron(), 5, False)


def test_can_compile_looks_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not can_compile(torch.device("cpu"))
