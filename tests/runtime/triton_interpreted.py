"""The kernels in Triton against those in PyTorch, under Triton's interpreter. Run by ``test_triton_kernels.py``, in a
process of its own: Triton decides when it is imported whether it interprets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.kernels import Kernels, Norm, kernels
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.surrogates import SURROGATES
from idsnn_convert.runtime.triton_kernels import triton_kernels

ROWS, CHANNELS = 33, 65
"""One more than a tile has of each."""

NEURONS = [Neuron(surrogate=name, reset=reset) for name, reset in zip(SURROGATES, ("hard", "soft") * 2, strict=False)]
NEURONS += [Neuron(reset="soft"), Neuron(kind="if", decay=1.0), Neuron(v_threshold=1.0, decay=0.9, width=0.3, damping=0.3)]
NEURONS += [Neuron(surrogate="triangle", damping=0.3)]


def maps(steps: int, dtype: torch.dtype = torch.float64, rows: int = ROWS, channels: int = CHANNELS) -> Tensor:
    return torch.randn(steps, rows, channels).to(dtype)


@dataclass(frozen=True)
class Case:
    """What the kernels are given."""

    neuron: Neuron
    x: Tensor
    residual: Tensor | None = None
    norm: bool = True
    training: bool = True

    def gradients(self, own: Kernels, grad: Tensor, code: Tensor, slopes: Tensor | None, weight: Tensor | None) -> list[Tensor]:
        if weight is None:
            return [own.currents(grad, code, slopes)]
        torch.manual_seed(3)
        norm = Norm(weight, torch.rand_like(weight), torch.rand_like(weight) + 0.5, self.training)
        found = own.norm(grad, code, slopes, self.x, norm, self.residual is not None)
        return [each for each in found if each is not None]


def equal(case: Case, steps: int, close: float = 0) -> None:
    """Same spikes and bits; same slopes and gradients, but for rounding."""
    torch.manual_seed(2)
    x, pair = case.x, (kernels(case.neuron, steps, False), triton_kernels(case.neuron, steps))
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight, shift = (torch.rand(x.shape[2]) + 0.5).to(wide), torch.randn(x.shape[2]).to(wide)
    given = (x, weight, shift, case.residual) if case.norm else (x, None, None, case.residual)
    grad = torch.randn(steps, *x.shape[1:]).to(x.dtype)
    kept, own = (each.forward(*given) for each in pair)
    assert torch.equal(own[0], kept[0])
    assert torch.equal(own[1], kept[1])
    assert own[0].dtype == x.dtype
    assert torch.equal(pair[1].infer(*given), kept[0])
    rough = {"rtol": close, "atol": close} if close else {}
    torch.testing.assert_close(own[2], kept[2], **rough)
    found = [case.gradients(each, grad, kept[1], kept[2], weight if case.norm else None) for each in pair]
    for wanted, made in zip(*found, strict=True):
        assert made.dtype == wanted.dtype
        torch.testing.assert_close(made, wanted, **rough)


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{n.kind}-{n.reset}-{n.surrogate}-{n.v_threshold}")
def test_every_neuron(neuron: Neuron) -> None:
    equal(Case(neuron, maps(5), maps(5)), 5)


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_whole_and_broken_bytes(steps: int) -> None:
    equal(Case(Neuron(), maps(steps)), steps)


@pytest.mark.parametrize("residual", [False, True])
def test_the_same_input_at_every_step(residual: bool) -> None:
    equal(Case(Neuron(), maps(1), maps(5) if residual else None), 5)


@pytest.mark.parametrize("training", [False, True])
def test_the_norm_in_training_and_evaluation(training: bool) -> None:
    equal(Case(Neuron(), maps(4), maps(4), training=training), 4)


@pytest.mark.parametrize("residual", [False, True])
def test_without_a_norm(residual: bool) -> None:
    equal(Case(Neuron(), maps(4), maps(4) if residual else None, norm=False), 4)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-4), (torch.float16, 5e-3)])
def test_types(dtype: torch.dtype, close: float) -> None:  # the interpreter cannot round to bfloat16
    equal(Case(Neuron(surrogate="triangle"), maps(4, dtype), maps(4, dtype)), 4, close)


def test_maps_that_are_not_contiguous() -> None:
    x = torch.randn(ROWS, 4, 7, dtype=torch.float64).transpose(0, 1)
    equal(Case(Neuron(), x, torch.randn(4, 7, ROWS, dtype=torch.float64).transpose(1, 2)), 4)


@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (0, 3)])
def test_one_value_and_none(rows: int, channels: int) -> None:
    equal(Case(Neuron(), maps(4, torch.float64, rows, channels), training=rows > 0), 4)


def test_two_calls_give_the_same_bits() -> None:
    x, own = maps(4, torch.float32, 200, 3), triton_kernels(Neuron(), 4)
    _, code, slopes = own.forward(x, None, None, None)
    norm = Norm(torch.ones(3), torch.zeros(3), torch.ones(3), True)
    one, two = (own.norm(x, code, slopes, x, norm, False) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True) if a is not None and b is not None)


def test_a_surrogate_that_no_kernel_has() -> None:
    neuron = Neuron()
    object.__setattr__(neuron, "surrogate", "sine")  # no neuron is made with it, but one may be added
    with pytest.raises(ValueError, match="no Triton kernel has the surrogate 'sine', only rectangle"):
        triton_kernels(neuron, 4)
