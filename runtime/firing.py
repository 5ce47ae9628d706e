"""How often each neuron layer fires.

Letters: T time steps, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

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
        return "dead" if self.rate < DEAD else "saturated" if self.rate > SATURATED else ""


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


@contextmanager
def watched(network: SpikingNetwork) -> Iterator[Firing]:
    """Within, every pass of ``network`` is counted; afterwards it is as before."""
    firing, names = Firing(network), [node.name for node in network.graph.of("neuron")]
    handles = [network.layer(name).register_forward_hook(partial(firing.note, name)) for name in names]
    try:
        yield firing
    finally:
        for handle in handles:
            handle.remove()
