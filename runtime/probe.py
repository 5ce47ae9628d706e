"""What single neurons do with one image: the potentials and spikes, over time, of a few drawn from each layer.

Letters: T time steps, C channels, H height, W width, K classes, n neurons drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.graph import Shape
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import SpikingNeuron, step
from idsnn_convert.runtime.randomness import own_randomness

LAYERS, NEURONS = 24, 40
"""Most layers that are probed, and most neurons of each."""


@dataclass(frozen=True)
class LayerProbe:
    """Neurons of one layer, drawn evenly.

    Attributes:
        rate: spikes per neuron and step of the whole layer for this image.
        neurons: indices into the layer's values (C*H*W), ascending.
        potentials: of each neuron at each step, before its reset, n x T.
        spikes: whether it fired then, n x T.
    """

    name: str
    shape: Shape
    v_threshold: float
    rate: float
    neurons: tuple[int, ...]
    potentials: tuple[tuple[float, ...], ...]
    spikes: tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class Probe:
    """What a network does with one image; ``answers``: the readout's logits had it stopped after 1, 2, ... T steps (T, K)."""

    layers: tuple[LayerProbe, ...]
    answers: Tensor


@torch.inference_mode()
def probe(
    checkpoint: Checkpoint,
    image: Tensor,
    *,
    time_steps: int | None = None,
    seed: int = 0,
    layers: int = LAYERS,
    neurons: int = NEURONS,
) -> Probe:
    """One pass of one normalised image (C, H, W) through the checkpoint's network on the CPU, every layer on its own.

    Args:
        time_steps: T; the checkpoint's own by default.
        seed: draws the neurons, and the spikes of a Poisson encoder.
        layers, neurons: at most so many layers, the first, the last and evenly between, and neurons of each.

    The potentials are those of :func:`idsnn_convert.runtime.neurons.step`, from the currents the layer was given.
    """
    steps = time_steps or checkpoint.time_steps
    network = SpikingNetwork(
        checkpoint.graph, checkpoint.tensors, steps, checkpoint.encoder, readout=checkpoint.readout, fused=False
    ).eval()
    nodes = checkpoint.graph.of("neuron")
    draw, found = torch.Generator().manual_seed(seed), dict[str, LayerProbe]()

    def note(name: str, shape: Shape, module: nn.Module, inputs: Any, spikes: Tensor) -> None:
        if not isinstance(module, SpikingNeuron):
            raise TypeError(f"{name} is a {type(module).__name__}, no neuron layer")
        values = torch.Size(shape).numel()
        chosen = torch.randperm(values, generator=draw)[:neurons].sort().values
        currents = inputs[0].flatten(1)[:, chosen].expand(steps, -1)
        potentials, fired = _followed(currents, module)
        threshold, rate = float(module.v_threshold), spikes.mean().item()
        rows = (tuple(map(tuple, table.T.tolist())) for table in (potentials, fired > 0))
        found[name] = LayerProbe(name, shape, threshold, rate, tuple(chosen.tolist()), *rows)

    for index in evenly(len(nodes), layers):
        node = nodes[index]
        network.layer(node.name).register_forward_hook(partial(note, node.name, node.shape))
    with own_randomness(torch.device("cpu"), seed):
        answers = network.readout.after_each_step(network(image[None]))
    return Probe(tuple(found.values()), answers[:, 0])


def _followed(currents: Tensor, module: SpikingNeuron) -> tuple[Tensor, Tensor]:
    """Potentials and spikes (T, n) of neurons that these currents (T, n) reach."""
    neuron = replace(module.neuron, decay=float(module.decay), v_threshold=float(module.v_threshold))
    u, fired, rows = torch.zeros_like(currents[0]), torch.zeros_like(currents[0]), []
    for current in currents:
        u, fired = step(u, fired, current, neuron)
        rows.append((u, fired))
    potentials, spikes = zip(*rows, strict=True)
    return torch.stack(potentials), torch.stack(spikes)


def evenly(there: int, wanted: int) -> Sequence[int]:
    """``wanted`` of the numbers from 0 to ``there - 1``, the first and the last among them; all if there are no more."""
    if there <= wanted:
        return range(there)
    return [round(i * (there - 1) / max(wanted - 1, 1)) for i in range(wanted)]
