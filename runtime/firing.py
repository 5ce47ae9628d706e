"""How often each neuron layer fires.

Letters: T time steps, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.distributed import ALONE, World
from idsnn_convert.runtime.fixed_point import decoded
from idsnn_convert.runtime.graph import Shape
from idsnn_convert.runtime.network import SpikingNetwork

DEAD, SATURATED = 0.001, 0.95
"""A layer that fires in less than this share of neurons and steps passes nearly nothing on; one that fires in more, nearly
the same at every step."""


@dataclass(frozen=True)
class LayerFiring:
    """One neuron layer over all images that passed.

    Attributes:
        rate: spikes per neuron and step, from 0 to 1.
        silent: share of the layer's neurons that never fired, for any image at any step.
        constant: share of those that fired for every image at every step.
    """

    name: str
    shape: Shape
    rate: float
    silent: float
    constant: float

    @property
    def flag(self) -> str:
        """``dead``, ``saturated``, or nothing."""
        return flag(self.rate)


def flag(rate: float) -> str:
    """``dead``, ``saturated``, or nothing, of a layer's spikes per neuron and step."""
    return "dead" if rate < DEAD else "saturated" if rate > SATURATED else ""


class Firing:
    """Made by :func:`watched`; holds one count a neuron, however many images pass."""

    def __init__(self, network: SpikingNetwork) -> None:
        self._nodes = network.graph.of("neuron")
        self._spikes: dict[str, Tensor] = {}
        self._frames: dict[str, int] = {}

    def note(self, name: str, module: nn.Module, inputs: Any, spikes: Tensor) -> None:
        """A forward hook: (T*B, ...) spikes of the layer ``name``."""
        counts = spikes.detach().sum(0, dtype=torch.float64)
        self._spikes[name] = self._spikes[name] + counts if name in self._spikes else counts
        self._frames[name] = self._frames.get(name, 0) + len(spikes)

    def found(self) -> tuple[LayerFiring, ...]:
        """One row a layer that ran, in graph order."""
        rows = []
        for node in self._nodes:
            if node.name in self._spikes:
                counts, frames = self._spikes[node.name], self._frames[node.name]
                shares = (counts.mean() / frames, (counts == 0).double().mean(), (counts == frames).double().mean())
                rows.append(LayerFiring(node.name, node.shape, *(share.item() for share in shares)))
        return tuple(rows)


class Rates:
    """Made by :func:`rated`; holds two numbers a layer, so that a run can afford it after every epoch."""

    def __init__(self, names: Sequence[str]) -> None:
        self._spikes = dict.fromkeys(names, torch.zeros((), dtype=torch.float64))
        self._chances = dict.fromkeys(names, 0)

    def note(self, name: str, module: nn.Module, inputs: Any, spikes: Tensor) -> None:
        """A forward hook: (T*B, ...) spikes of the layer ``name``."""
        self._spikes[name] = self._spikes[name].to(spikes.device) + spikes.detach().sum(dtype=torch.float32)
        self._chances[name] += spikes.numel()

    def found(self, world: World = ALONE) -> dict[str, float]:
        """Spikes per neuron and step of each layer, from 0 to 1, over the images of all processes; in graph order."""
        if not self._spikes:
            return {}
        own = torch.stack([*self._spikes.values()]).cpu(), torch.tensor([*self._chances.values()], dtype=torch.float64)
        spikes, chances = world.total(torch.stack(own))
        return dict(zip(self._spikes, (spikes / chances.clamp(min=1)).tolist(), strict=True))


@contextmanager
def rated(network: nn.Module) -> Iterator[Rates]:
    """Within, the spikes of ``network`` are counted layer by layer; of one without neurons nothing is."""
    nodes = network.graph.of("neuron") if isinstance(network, SpikingNetwork) else ()
    rates = Rates([node.name for node in nodes])
    with _hooked(network, rates.note, [node.name for node in nodes]):
        yield rates


@contextmanager
def watched(network: SpikingNetwork) -> Iterator[Firing]:
    """Within, every pass of ``network`` is counted; afterwards it is as before."""
    firing, names = Firing(network), [node.name for node in network.graph.of("neuron")]
    with _hooked(network, firing.note, names):
        yield firing


def _told(note: Callable[..., None], name: str, channels: int, module: nn.Module, inputs: Any, spikes: Tensor) -> None:
    """A forward hook: the layer's name, the layer, its inputs and its spikes, as floats whatever it writes them as."""
    note(name, module, inputs, decoded(spikes, channels))


@contextmanager
def _hooked(network: nn.Module, note: Callable[..., None], names: Sequence[str]) -> Iterator[None]:
    """Within, ``note`` is told what :func:`_told` tells of each of these layers at every pass."""
    handles = []
    if isinstance(network, SpikingNetwork):
        told = [(network.layer(name), partial(_told, note, name, network.graph[name].shape[0])) for name in names]
        handles = [layer.register_forward_hook(hook) for layer, hook in told]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
