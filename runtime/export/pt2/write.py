"""A network as a torch.export program: a graph of ATen operations that torch runs, and compiles, without our code.

The program takes images (B, C, H, W) of any batch size and gives the answer (B, K); of a spiking network also the logits
of each step (T, B, K). Time is unrolled, T is fixed. Neurons are written out in the operations that the runtime
uses, in its order, so that on the same version of torch the two agree to the bit.

Letters: T time steps, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.encoders import ENCODERS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.export.about import KEY, about
from idsnn_convert.runtime.neurons import Neuron, SpikingNeuron, checked, learnt

ABOUT = f"{KEY}.json"
"""The extra file in the archive."""


class WrittenOut(nn.Module):
    """A neuron layer in plain operations, for inference; otherwise as
    :class:`idsnn_convert.runtime.neurons.SpikingNeuron`."""

    def __init__(self, neuron: Neuron, time_steps: int, repeats: bool) -> None:
        super().__init__()
        self.neuron, self.time_steps, self.repeats = neuron, time_steps, repeats

    def forward(self, x: Tensor) -> Tensor:
        currents = (x,) * self.time_steps if self.repeats else x.unflatten(0, (self.time_steps, -1)).unbind(0)
        spikes: list[Tensor] = []
        left: Tensor | None = None
        for current in currents:
            u = current if left is None else torch.add(current, left, alpha=self.neuron.decay)
            fired = u > self.neuron.v_threshold
            spikes.append(fired.to(x.dtype))
            hard = self.neuron.reset == "hard"
            left = u.masked_fill(fired, 0) if hard else u.sub(spikes[-1], alpha=self.neuron.v_threshold)
        return torch.cat(spikes)


class _Whole(nn.Module):
    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.spiking = bool(checkpoint.graph.of("neuron"))
        self.steps, self.readout = checkpoint.time_steps, checkpoint.readout
        self.body = compare.plain(checkpoint).body
        for node in checkpoint.graph.of("neuron"):
            placed = self.body.get_submodule(node.name)
            if not isinstance(placed, SpikingNeuron):
                raise TypeError(f"{node.name} is a {type(placed).__name__}")
            neuron = learnt(checked(node.attrs), node.name, checkpoint.tensors)
            self.body.set_submodule(node.name, WrittenOut(neuron, self.steps, placed.repeats))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        found: Tensor = self.body(images)
        per_step = found.unflatten(0, (self.steps, -1))
        return (self.readout(per_step), per_step) if self.spiking else found


def to_pt2(checkpoint: Checkpoint, *, time_steps: int | None = None, folded: bool = True) -> bytes:
    """The network of ``checkpoint`` as the bytes of a .pt2 file.

    Args:
        checkpoint: a teacher's canonical graph, which has no neurons, may stand in one too.
        time_steps: T; the checkpoint's own by default.
        folded: batch norms folded into their convolutions.

    Raises:
        UserError: if its encoder draws random numbers.
    """
    if not ENCODERS[checkpoint.encoder].constant:
        problem = f"the {checkpoint.encoder} encoder draws random numbers, which a program would have to hold"
        raise UserError(problem, hint="ONNX's form step takes the encoded images of each step instead.")
    given = replace(checkpoint, time_steps=checkpoint.time_steps if time_steps is None else time_steps)
    network = _Whole(compare.folded(given) if folded else given)
    example = torch.zeros(2, *given.graph.input_shape)  # a batch of 1 would be taken for a constant
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
    content = io.BytesIO()
    extra = json.dumps(about(given), sort_keys=True, allow_nan=False)
    torch.export.save(program, content, extra_files={ABOUT: extra})
    return content.getvalue()
