"""The neuron against traces worked out by hand, float64 references, and autograd through the unrolled equations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.neurons import (
    Neuron,
    SpikingNeuron,
    checked,
    learnt,
    multi_step,
    neuron_from_attrs,
    parameter_shapes,
    step,
    unrolled,
)
from idsnn_convert.runtime.surrogates import SURROGATES

IF = Neuron(kind="if", decay=1.0)
ALL = [
    Neuron(kind=kind, decay=decay, reset=reset, surrogate=name)
    for kind, decay in (("lif", 0.6), ("if", 1.0))
    for reset in ("hard", "soft")
    for name in SURROGATES
] + [Neuron(surrogate=name, damping=0.3) for name in ("rectangle", "linear")]


def trace(currents: list[float], neuron: Neuron) -> list[int]:
    x = torch.tensor(currents, dtype=torch.float64).unsqueeze(1)
    return [int(spike) for spike in multi_step(x, neuron)[:, 0]]


def test_hard_reset_trace_by_hand() -> None:
    # decay 1/4, threshold 1/2. U: .4 | .1+.4=.5 (not above) | .125+.4=.525 fires | reset: .4 | .1+.45=.55 fires
    assert trace([0.4, 0.4, 0.4, 0.4, 0.45], Neuron()) == [0, 0, 1, 0, 1]


def test_soft_reset_keeps_what_exceeds_the_threshold() -> None:
    # no leak, threshold 1/2. U: .8 fires, .3 left | .5 (not above) | .7 fires, .2 left | .4
    assert trace([0.8, 0.2, 0.2, 0.2], Neuron(kind="if", decay=1.0, reset="soft")) == [1, 0, 1, 0]


def test_integrate_and_fire_without_leak() -> None:
    assert trace([0.25, 0.25, 0.25, 0.25], IF) == [0, 0, 1, 0]


def test_step_matches_the_equations() -> None:
    u, fired = step(torch.tensor([0.4, 0.8]), torch.tensor([0.0, 1.0]), torch.tensor([0.45, 0.45]), Neuron())
    assert torch.equal(u, torch.tensor([0.55, 0.45]))
    assert torch.equal(fired, torch.tensor([1.0, 0.0]))


def test_gradient_by_hand() -> None:
    # U = (.4, .6): both inside the window (0, 1), slope 1. Second fires, first does not, so its potential is kept.
    # Loss = F0 + 2 F1: dU1 = 2, dU0 = 1 + decay * 2 = 1.5.
    x = torch.tensor([[0.4], [0.5]], dtype=torch.float64, requires_grad=True)
    spikes = multi_step(x, Neuron())
    (spikes * torch.tensor([[1.0], [2.0]])).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1.5, 2.0]


def test_a_damped_slope_by_hand() -> None:
    # LaSNN eq. 14-15 at threshold 2 and damping 0.3: U = 1.5 is a quarter of the threshold away, 0.3 * 0.75.
    x = torch.tensor([[1.5]], dtype=torch.float64, requires_grad=True)
    multi_step(x, Neuron(v_threshold=2.0, surrogate="linear", width=2.0, damping=0.3)).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(0.3 * 0.75)


def test_an_undamped_neuron_is_described_as_ever() -> None:
    assert "damping" not in Neuron().attrs()
    assert checked(Neuron(damping=0.3).attrs()).damping == 0.3


def test_no_gradient_flows_through_the_reset() -> None:
    # U0 = .8 fires, so nothing of it reaches step 1.
    x = torch.tensor([[0.8], [0.4]], dtype=torch.float64, requires_grad=True)
    multi_step(x, Neuron())[1].sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("neuron", ALL, ids=lambda n: f"{n.kind}-{n.reset}-{n.surrogate}-{n.damping}")
@pytest.mark.parametrize("shape", [(1, 3), (4, 2, 3, 5, 5), (6, 1, 1), (3, 0, 2)])
def test_closed_form_equals_autograd_through_the_unrolled_equations(neuron: Neuron, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(shape, dtype=torch.float64, generator=generator)

    def spikes_and_gradient(spikes: Tensor) -> tuple[Tensor, Tensor]:
        return spikes.detach(), torch.autograd.grad((spikes * weight).sum(), x)[0]

    fast, reference = spikes_and_gradient(multi_step(x, neuron)), spikes_and_gradient(unrolled(x, neuron))
    assert torch.equal(fast[0], reference[0])
    torch.testing.assert_close(fast[1], reference[1], rtol=1e-12, atol=1e-14)


def test_strided_input_and_output_gradient() -> None:
    generator = torch.Generator().manual_seed(2)
    whole = torch.randn(4, 6, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    (multi_step(whole[:, ::2].transpose(1, 2), Neuron()).transpose(1, 2)[..., 1::2] ** 2).sum().backward()
    fast = whole.grad
    whole.grad = None
    (unrolled(whole[:, ::2].transpose(1, 2), Neuron()).transpose(1, 2)[..., 1::2] ** 2).sum().backward()
    assert fast is not None
    assert whole.grad is not None
    torch.testing.assert_close(fast, whole.grad, rtol=1e-12, atol=1e-14)


def test_a_repeated_current_equals_the_same_current_given_at_each_step() -> None:
    image = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    once = SpikingNeuron(Neuron(), time_steps=5, repeats=True)(image)
    (grad,) = torch.autograd.grad((once * torch.arange(10.0).view(10, 1, 1, 1)).sum(), image)
    each = SpikingNeuron(Neuron(), time_steps=5)(image.repeat(5, 1, 1, 1))
    (wanted,) = torch.autograd.grad((each * torch.arange(10.0).view(10, 1, 1, 1)).sum(), image)
    assert torch.equal(once, each)
    torch.testing.assert_close(grad, wanted)


def test_channels_last_stays_channels_last() -> None:
    image = torch.rand(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    for module in (SpikingNeuron(Neuron(), 2), SpikingNeuron(Neuron(), 2, repeats=True)):
        assert module(image).is_contiguous(memory_format=torch.channels_last)


def test_no_state_is_left_between_calls() -> None:
    module = SpikingNeuron(Neuron(), 2)
    x = torch.full((2, 1), 0.45)
    assert torch.equal(module(x), module(x))


LEARNING = Neuron(decay=0.3, v_threshold=0.7, learn_decay=True, learn_threshold=True)


def test_a_learning_layer_owns_its_numbers_and_starts_from_them() -> None:
    module = SpikingNeuron(LEARNING, 4)
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == parameter_shapes(LEARNING.attrs())
    assert isinstance(module.decay, Tensor)
    assert isinstance(module.v_threshold, Tensor)
    assert module.decay.item() == pytest.approx(0.3)
    assert module.v_threshold.item() == pytest.approx(0.7)
    x = torch.randn(8, 50)
    fixed = SpikingNeuron(replace(LEARNING, learn_decay=False, learn_threshold=False), 4)
    assert not list(fixed.parameters())
    assert torch.equal(module(x), fixed(x))


@pytest.mark.parametrize("key", ["learn_decay", "learn_threshold"])
def test_one_number_can_be_learnt_alone(key: str) -> None:
    module = SpikingNeuron(replace(Neuron(), **{key: True}), 3)
    (parameter,) = module.parameters()
    module(torch.randn(6, 20)).sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.item() != 0


def test_what_was_learnt_is_read_from_the_tensors() -> None:
    found = learnt(LEARNING, "lif", {"lif.decay_logit": torch.tensor(0.0), "lif.log_threshold": torch.tensor(0.0)})
    assert (found.decay, found.v_threshold) == (0.5, 1.0)
    assert learnt(Neuron(), "lif", {}) == Neuron()


def test_an_unlearnt_number_adds_no_attribute() -> None:
    assert Neuron().attrs().keys().isdisjoint({"learn_decay", "learn_threshold"})
    assert LEARNING.attrs()["learn_decay"] is True


def test_a_neuron_without_leak_cannot_learn_one() -> None:
    with pytest.raises(UserError, match="no leak to learn"):
        checked({**IF.attrs(), "learn_decay": True})


def test_published_defaults() -> None:
    neuron = Neuron()
    assert (neuron.v_threshold, neuron.decay, neuron.width, neuron.reset) == (0.5, 0.25, 0.5, "hard")
    assert math.exp(-1 / neuron.tau) == pytest.approx(0.25)
    assert IF.tau == math.inf


def test_attributes_round_trip() -> None:
    for neuron in (*ALL, LEARNING):
        assert neuron_from_attrs(neuron.attrs()).neuron == neuron


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("kind", "izhikevich", "kind 'izhikevich' is unknown"),
        ("reset", "none", "reset 'none'"),
        ("surrogate", "cosine", "surrogate 'cosine'"),
        ("v_threshold", 0.0, "v_threshold"),
        ("v_threshold", math.nan, "v_threshold"),
        ("decay", 1.5, "decay"),
        ("width", math.inf, "width"),
        ("width", True, "width"),
        ("learn_decay", 1, "learn_decay and learn_threshold are true or false"),
    ],
)
def test_bad_attributes_are_refused_by_name(key: str, value: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        checked({**Neuron().attrs(), key: value})  # type: ignore[dict-item]
