"""A student ready to answer: batch norms folded, nothing kept for a backward, and no step more than an image needs.

Letters: T time steps, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.chunks import Carrying, carrying, lasting_for
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.network import SpikingNetwork


@dataclass(frozen=True)
class Answer:
    """What :class:`Inference` says of a batch.

    Attributes:
        logits: (B, K), of each image what the readout made of the steps it was given.
        steps: (B,) int64, how many those were.
    """

    logits: Tensor
    steps: Tensor

    @property
    def classes(self) -> Tensor:
        """(B,), the highest logit of each image."""
        return self.logits.argmax(1)


class Inference:
    """The network of a checkpoint, for images (B, C, H, W) that are normalised as the checkpoint says.

    Without ``confidence`` all T steps are computed at once. With it one step is computed after the other, each neuron going
    on from its potential, and an image leaves the batch as soon as softmax gives its answer so far that much probability
    (Li et al. 2023, SEENN); the answers and steps are those that :class:`idsnn_convert.runtime.measures.EarlyExits` counts.
    Folding rounds a batch norm in another order, so a spike at its threshold may differ from the network in training form.

    Args:
        time_steps: T, at the most; the checkpoint's own by default.
        confidence: above 0 and up to 1.
        compiled: run on compiled kernels; with ``confidence`` on those of one step.
        weight_bits: 8 or 16 to compute convolutions of spikes in integers, on processors that multiply bytes (see
            :mod:`idsnn_convert.runtime.fixed_point`); float32 by default.

    Raises:
        UserError: if ``confidence`` is out of its range, or this machine does not do such integers.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        time_steps: int | None = None,
        confidence: float | None = None,
        device: torch.device | str = "cpu",
        compiled: bool = False,
        weight_bits: int | None = None,
    ) -> None:
        if confidence is not None and not 0 < confidence <= 1:
            raise UserError(f"a confidence to stop at is above 0 and up to 1, not {confidence:g}")
        graph, tensors = fold(checkpoint.graph, checkpoint.tensors)
        steps = checkpoint.time_steps if time_steps is None else time_steps
        given = (graph, tensors, steps, checkpoint.encoder, device, compiled, checkpoint.readout)
        made = SpikingNetwork(*given, weight_bits=weight_bits)
        self.network: SpikingNetwork = made.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.confidence = confidence
        self._carrying = [module for module in made.lasting() if isinstance(module, Carrying)]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Answer:
        """The answer to each image."""
        if self.confidence is not None and len(images):
            with lasting_for(self.network.lasting(), 1, self.network.time_steps):
                return self._until(images, self.confidence)
        logits = self.network.readout(self.network(images))
        return Answer(logits, torch.full((len(images),), self.network.time_steps, device=logits.device))

    def _until(self, images: Tensor, confidence: float) -> Answer:
        decay, most = self.network.readout.decay, self.network.time_steps
        left = torch.arange(len(images), device=images.device)  # places of the images that have not stopped
        found, steps = images.new_empty(0), left.new_zeros(len(images))
        starts: list[Tensor | None] = [None] * len(self._carrying)
        potential, weight = images.new_zeros(()), 0.0  # of the readout
        for step in range(1, most + 1):
            logits, starts = self._step(images, starts)
            potential, weight = decay * potential + logits, decay * weight + 1
            answer = potential / weight
            sure = answer.softmax(1).amax(1) >= confidence if step < most else torch.ones_like(left, dtype=torch.bool)
            if not found.numel():
                found = answer.new_empty(len(steps), answer.shape[1])
            found[left[sure]], steps[left[sure]] = answer[sure], step
            if sure.all():
                break
            if sure.any():
                stay = ~sure
                images, left, potential = images[stay], left[stay], potential[stay]
                starts = [None if start is None else start[stay] for start in starts]
        return Answer(found, steps)

    def _step(self, images: Tensor, starts: list[Tensor | None]) -> tuple[Tensor, list[Tensor | None]]:
        """Logits (B, K) of one more step, and what each neuron goes on from."""
        with carrying(self._carrying, starts):
            logits = self.network.body(self.network.encoder(images, 1))
            return logits, [module.end for module in self._carrying]
