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
    start: Tensor | None = None
    """Given, potentials are carried: from here, and from zero."""

    def gradients(
        self, own: Kernels, grad: Tensor, code: Tensor, slopes: Tensor | None, weight: Tensor | None
    ) -> list[Tensor | None]:
        torch.manual_seed(3)
        dend = None if self.start is None else torch.randn_like(self.start)
        if weight is None:
            return [*own.currents(grad, code, slopes, dend)]
        norm = Norm(weight, torch.rand_like(weight), torch.rand_like(weight) + 0.5, self.training)
        return [*own.norm(grad, code, slopes, dend, self.x, norm, self.residual is not None)]


def equal(case: Case, steps: int, close: float = 0) -> None:
    """Same spikes and bits; same slopes, potentials and gradients, but for rounding."""
    torch.manual_seed(2)
    x, carries = case.x, case.start is not None
    pair = (kernels(case.neuron, steps, False, carries=carries), triton_kernels(case.neuron, steps, carries))
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight = (torch.rand(x.shape[2]) + 0.5).to(wide) if case.norm else None
    shift = torch.randn(x.shape[2]).to(wide) if case.norm else None
    rough = {"rtol": close, "atol": close} if close else {}
    if carries:
        begun = [each.forward(x, weight, shift, case.residual, None) for each in pair]
        assert torch.equal(begun[1][0], begun[0][0])
        torch.testing.assert_close(begun[1][3], begun[0][3], **rough)
    given = (x, weight, shift, case.residual, case.start)
    grad = torch.randn(steps, *x.shape[1:]).to(x.dtype)
    kept, own = (each.forward(*given) for each in pair)
    assert torch.equal(own[0], kept[0])
    assert torch.equal(own[1], kept[1])
    assert own[0].dtype == x.dtype
    torch.testing.assert_close(own[2:], kept[2:], **rough)
    spikes, end = pair[1].infer(*given)
    assert torch.equal(spikes, kept[0])
    torch.testing.assert_close(end, own[3], rtol=0, atol=0)
    found = [case.gradients(each, grad, kept[1], kept[2], weight) for each in pair]
    torch.testing.assert_close(found[1], found[0], **rough)


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{n.kind}-{n.reset}-{n.surrogate}-{n.v_threshold}")
def test_every_neuron(neuron: Neuron) -> None:
    equal(Case(neuron, maps(5), maps(5)), 5)


@pytest.mark.parametrize("neuron", NEURONS[:5], ids=lambda n: f"{n.reset}-{n.surrogate}")
@pytest.mark.parametrize("norm", [False, True])
def test_every_neuron_that_carries(neuron: Neuron, norm: bool) -> None:
    equal(Case(neuron, maps(5), maps(5), norm, start=maps(1)[0]), 5)


@pytest.mark.parametrize("steps", [1, 4, 8])
@pytest.mark.parametrize("carries", [False, True])
def test_whole_and_broken_bytes(steps: int, carries: bool) -> None:
    equal(Case(Neuron(), maps(steps), start=maps(1)[0] if carries else None), steps)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_steps_in_parts_give_the_bits_of_all_steps_at_once(reset: str) -> None:
    neuron, x, added = Neuron(decay=0.9, reset=reset), maps(7, torch.float32), maps(7, torch.float32)
    torch.manual_seed(4)
    scale, shift = torch.rand(CHANNELS) + 0.5, torch.randn(CHANNELS)
    end, parts = None, []
    for first, steps in ((0, 2), (2, 4), (6, 1)):
        own, now = triton_kernels(neuron, steps, carries=True), slice(first, first + steps)
        spikes, end = own.infer(x[now], scale, shift, added[now], end)
        parts.append(spikes)
    whole, last = triton_kernels(neuron, 7, carries=True).infer(x, scale, shift, added, None)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(triton_kernels(neuron, 7).infer(x, scale, shift, added, None)[0], whole)
    assert end is not None
    assert torch.equal(end, last)


@pytest.mark.parametrize("residual", [False, True])
def test_the_same_input_at_every_step(residual: bool) -> None:
    equal(Case(Neuron(), maps(1), maps(5) if residual else None), 5)
    equal(Case(Neuron(), maps(1), maps(5) if residual else None, start=maps(1)[0]), 5)


@pytest.mark.parametrize("training", [False, True])
def test_the_norm_in_training_and_evaluation(training: bool) -> None:
    equal(Case(Neuron(), maps(4), maps(4), training=training), 4)


@pytest.mark.parametrize("residual", [False, True])
def test_without_a_norm(residual: bool) -> None:
    equal(Case(Neuron(), maps(4), maps(4) if residual else None, norm=False), 4)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-4), (torch.float16, 5e-3)])
def test_types(dtype: torch.dtype, close: float) -> None:  # the interpreter cannot round to bfloat16
    equal(Case(Neuron(surrogate="triangle"), maps(4, dtype), maps(4, dtype), start=maps(1, torch.float32)[0]), 4, close)


def test_maps_that_are_not_contiguous() -> None:
    x = torch.randn(ROWS, 4, 7, dtype=torch.float64).transpose(0, 1)
    added, start = torch.randn(4, 7, ROWS, dtype=torch.float64).transpose(1, 2), torch.randn(7, ROWS, dtype=torch.float64).T
    equal(Case(Neuron(), x, added), 4)
    equal(Case(Neuron(), x, added, start=start), 4)


@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (0, 3)])
def test_one_value_and_none(rows: int, channels: int) -> None:
    for start in (None, maps(1, torch.float64, rows, channels)[0]):
        equal(Case(Neuron(), maps(4, torch.float64, rows, channels), training=rows > 0, start=start), 4)


def test_two_calls_give_the_same_bits() -> None:
    x, own = maps(4, torch.float32, 200, 3), triton_kernels(Neuron(), 4)
    _, code, slopes, _ = own.forward(x, None, None, None, None)
    norm = Norm(torch.ones(3), torch.zeros(3), torch.ones(3), True)
    one, two = (own.norm(x, code, slopes, None, x, norm, False) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True) if a is not None and b is not None)


def test_a_surrogate_that_no_kernel_has() -> None:
    neuron = Neuron()
    object.__setattr__(neuron, "surrogate", "sine")  # no neuron is made with it, but one may be added
    with pytest.raises(ValueError, match="no Triton kernel has the surrogate 'sine', only rectangle"):
        triton_kernels(neuron, 4)
