"""What a batch costs: the student's answer, the teacher's, and the losses between them.

Letters: T time steps, B batch, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.losses import LossTerms, distillation_loss
from idsnn_convert.runtime.recipe import Loss

HALVES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""A recipe's precision -> the type that convolutions and products run in under autocast; None without autocast."""


@dataclass(frozen=True)
class Objective:
    """The loss of a student on a batch.

    Attributes:
        student: gives logits (T, B, K), or (B, K) for a network without time.
        teacher: gives logits (B, K); never learns. None if nothing is distilled.
        settings: the recipe's losses.
        precision: the recipe's; logits and losses are float32 whatever it is.
    """

    student: nn.Module
    teacher: nn.Module | None
    settings: Loss
    precision: str = "float32"

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, LossTerms]:
        """The student's logits (T, B, K), T = 1 for one without time, and the losses, of which ``total`` has gradients.

        Args:
            images: (B, C, H, W), normalised.
            labels: (B,), int64.

        Raises:
            UserError: if teacher and student tell different numbers of classes apart.
        """
        with self._precision(images.device):
            logits = self.student(images)
        logits = logits if logits.dim() == 3 else logits[None]
        return logits, distillation_loss(logits, labels, self._taught(images, logits.shape[1:]), self.settings)

    def _taught(self, images: Tensor, shape: torch.Size) -> Tensor | None:
        """The teacher's logits, of shape (B, K)."""
        if self.teacher is None:
            return None
        with torch.no_grad(), self._precision(images.device):
            taught: Tensor = self.teacher(images)
        if taught.shape != shape:
            raise UserError(f"the teacher tells {taught.shape[-1]} classes apart, the network {shape[-1]}")
        return taught

    def _precision(self, device: torch.device) -> torch.autocast:
        half = HALVES[self.precision]
        return torch.autocast(device.type, dtype=half, enabled=half is not None)
