"""SpikingJelly's layers as far as written networks use them, after its documentation: for machines that lack it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


def _over_time(kind: type[nn.Module]) -> type[nn.Module]:
    """The layer on (T, B, ...), step by step."""

    class Layer(kind):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Any:
            return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    return Layer


class Surrogate:
    def __init__(self, alpha: float) -> None:
        self.alpha = alpha


class _Node(nn.Module):
    """Charges, fires where the potential reaches the threshold, resets; its potential outlasts a call."""

    def __init__(self, v_threshold: float, v_reset: float | None, surrogate_function: Surrogate, detach_reset: bool) -> None:
        super().__init__()
        assert detach_reset
        assert isinstance(surrogate_function, Surrogate)
        self.v_threshold, self.v_reset, self.v = v_threshold, v_reset, torch.zeros(())

    def charged(self, x: Tensor) -> Tensor:
        return self.v + x

    def forward(self, x: Tensor) -> Tensor:
        spikes = []
        for current in x:
            self.v = self.charged(current)
            fired = (self.v >= self.v_threshold).to(x)
            spikes.append(fired)
            soft = self.v_reset is None
            self.v = self.v - fired * self.v_threshold if soft else torch.where(fired > 0, self.v_reset, self.v)
        return torch.stack(spikes)


class _LIF(_Node):
    def __init__(self, tau: float, decay_input: bool, **rest: Any) -> None:
        super().__init__(**rest)
        assert tau > 1
        assert not decay_input
        self.tau = tau

    def charged(self, x: Tensor) -> Tensor:
        return self.v - self.v / self.tau + x


def _reset(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, _Node):
            part.v = torch.zeros(())


def stand_ins() -> dict[str, ModuleType]:
    """Name of a module -> what stands for it."""
    names = ("spikingjelly", "spikingjelly.activation_based")
    parts = ("functional", "layer", "neuron", "surrogate")
    found = {name: ModuleType(name) for name in (*names, *(f"{names[1]}.{part}" for part in parts))}
    whole = found[names[1]]
    for part in parts:
        setattr(whole, part, found[f"{names[1]}.{part}"])
    for name in (
        "Conv2d",
        "BatchNorm2d",
        "GroupNorm",
        "Linear",
        "MaxPool2d",
        "AvgPool2d",
        "AdaptiveAvgPool2d",
        "Flatten",
        "Dropout",
    ):
        setattr(found[f"{names[1]}.layer"], name, _over_time(getattr(nn, name)))
    found[f"{names[1]}.neuron"].__dict__.update(IFNode=_Node, LIFNode=_LIF)
    for name in ("Rect", "PiecewiseQuadratic", "ATan", "Sigmoid"):
        setattr(found[f"{names[1]}.surrogate"], name, type(name, (Surrogate,), {}))
    found[f"{names[1]}.functional"].__dict__.update(set_step_mode=lambda network, mode: None, reset_net=_reset)
    return found
