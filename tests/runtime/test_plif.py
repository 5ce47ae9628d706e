"""The learning neuron against a trace by hand and against float64 autograd through the unrolled equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.neurons import Neuron, multi_step
from idsnn_convert.runtime.plif import decay_logit, learned_multi_step
from idsnn_convert.runtime.surrogates import SURROGATES


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def spikes_of(x: Tensor, decay: Tensor, v: Tensor, neuron: Neuron) -> Tensor:
    return learned_multi_step(x, decay, v, hard=neuron.reset == "hard", slope=neuron.slope)


def by_autograd(x: Tensor, decay: Tensor, v: Tensor, neuron: Neuron) -> Tensor:
    """The equations step by step; a spike is a constant plus a line of the surrogate's slope that is 0 in value."""
    u, fired, spikes = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for current in x:
        kept = u * (1 - fired) if neuron.reset == "hard" else u - v * fired
        u = decay * kept + current
        over = u - v
        line = SURROGATES[neuron.surrogate](over, neuron.width).detach() * neuron.damping * over
        fired = (over > 0).to(x.dtype)
        spikes.append(fired + line - line.detach())
    return torch.stack(spikes)


def test_gradients_by_hand() -> None:
    # decay 1/4, threshold 1/2, U = (.4, .6), slope 1 at both; loss F0 + 2 F1, and only step 1 fires.
    # dU1 = 2, dU0 = 1 + 2/4; d decay = dU1 U0 = .8; d threshold = -(1 + 2).
    x = torch.tensor([[0.4], [0.5]], dtype=torch.float64, requires_grad=True)
    decay, v = number(0.25), number(0.5)
    spikes = spikes_of(x, decay, v, Neuron())
    assert spikes.flatten().tolist() == [0, 1]
    (spikes * torch.tensor([[1.0], [2.0]])).sum().backward()
    assert x.grad is not None
    assert decay.grad is not None
    assert v.grad is not None
    assert x.grad.flatten().tolist() == [1.5, 2.0]
    assert decay.grad.item() == pytest.approx(0.8)
    assert v.grad.item() == pytest.approx(-3.0)


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("shape", [(1, 3), (5, 2, 3, 4, 4)])
def test_closed_form_equals_autograd(reset: str, surrogate: str, shape: tuple[int, ...]) -> None:
    neuron = Neuron(reset=reset, surrogate=surrogate, width=0.7, damping=0.3)
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(shape, dtype=torch.float64, generator=draw, requires_grad=True)
    weight = torch.randn(shape, dtype=torch.float64, generator=draw)
    given = (x, number(0.6), number(0.4))
    results = []
    for function in (spikes_of, by_autograd):
        spikes = function(*given, neuron)
        grads = torch.autograd.grad((spikes * weight).sum(), given, allow_unused=True, materialize_grads=True)
        results.append((spikes.detach(), *grads))
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_numbers_that_do_not_move_give_the_fixed_neuron(reset: str) -> None:
    neuron = Neuron(reset=reset, decay=0.6, v_threshold=0.4)
    x = torch.randn(4, 50, dtype=torch.float64)
    assert torch.equal(spikes_of(x, number(0.6), number(0.4), neuron), multi_step(x, neuron))


def test_half_precision_adds_up_in_float32() -> None:
    x = torch.full((300, 1), 2**-9, dtype=torch.bfloat16)  # in bfloat16 the sum would stick at 1/2
    spikes = learned_multi_step(x, torch.tensor(1.0), torch.tensor(0.55), hard=True, slope=Neuron(surrogate="arctan").slope)
    assert spikes.dtype == torch.bfloat16
    assert spikes.sum() == 1


def test_the_logit_of_a_decay() -> None:
    assert torch.sigmoid(torch.tensor(decay_logit(0.25))).item() == pytest.approx(0.25)
