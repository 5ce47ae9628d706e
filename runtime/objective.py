"""What a batch costs: the student's answer, the teacher's, and the losses between them.

Letters: T time steps, B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.losses import LossTerms, cross_entropy, total_loss
from idsnn_convert.runtime.readout import Readout
from idsnn_convert.runtime.recipe import Loss
from idsnn_convert.runtime.taps import tap_loss

HALVES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": None}
"""A recipe's precision -> the type that convolutions and products run in under autocast; None without autocast."""


@dataclass(frozen=True)
class Objective:
    """The loss of a student on a batch.

    Attributes:
        student: gives logits (T, B, K), or (B, K) for a network without time. Where the recipe compares feature maps it is
            called with ``maps=True`` and gives them too, see :class:`idsnn_convert.runtime.network.SpikingNetwork`.
        teacher: gives logits (B, K), a spiking one of each step (T, B, K), and where feature maps are compared its own after
            them; never learns. None if nothing is distilled.
        settings: the recipe's losses.
        precision: the recipe's; logits and losses are float32 whatever it is.
        readout: how one answer is made of all steps; by default their mean.
        teacher_precision: the teacher's own, or ``same`` as ``precision``.
    """

    student: nn.Module
    teacher: nn.Module | None
    settings: Loss
    precision: str = "float32"
    readout: Readout | None = None
    teacher_precision: str = "same"

    def __call__(self, images: Tensor, labels: Tensor) -> LossTerms:
        """The losses, of which ``total`` has gradients.

        Args:
            images: (B, C, H, W), normalised.
            labels: int64 (B,), or soft ones: float (B, K).

        Raises:
            UserError: if teacher and student tell different numbers of classes apart.
        """
        compares = bool(self.settings.tap_weight)
        with _autocast(self.precision, images.device):
            logits, maps = self.student(images, maps=True) if compares else (self.student(images), [])
        logits = logits if logits.dim() == 3 else logits[None]
        taught, theirs = self._taught(images, labels, logits.shape[1:])
        tap = tap_loss(maps, theirs, self.settings.tap) if compares else None
        return total_loss(logits, labels, taught, self.settings, self.readout, tap)

    def _taught(self, images: Tensor, labels: Tensor, shape: torch.Size) -> tuple[Tensor | None, Sequence[Tensor]]:
        """The teacher's logits, of shape (B, K) or (T, B, K), and its maps, or the gradients there."""
        if self.teacher is None:
            return None, ()
        by_gradient = bool(self.settings.tap_weight) and self.settings.tap == "gradient"
        own = own_precision(self.precision, self.teacher_precision)
        with torch.set_grad_enabled(by_gradient), _autocast(own, images.device):
            given = self.teacher(images.detach().requires_grad_() if by_gradient else images)
        taught, *maps = given if isinstance(given, tuple) else (given,)
        if taught.shape[-1] != shape[-1]:
            raise UserError(f"the teacher tells {taught.shape[-1]} classes apart, the network {shape[-1]}")
        if by_gradient:
            loss = len(images) * cross_entropy(taught.float(), labels)  # of each image alone, whatever the batch
            maps = list(torch.autograd.grad(loss, maps))
        if taught.dim() == 3 and self.settings.kl == "mean":
            taught = getattr(self.teacher, "readout", Readout())(taught)
        return taught.detach(), maps


def own_precision(precision: str, teacher_precision: str) -> str:
    """What a teacher runs in beside a student in ``precision``: a recipe's ``teacher_precision``, or the same."""
    return precision if teacher_precision == "same" else teacher_precision


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    half = HALVES[precision]
    return torch.autocast(device.type, dtype=half, enabled=half is not None)
