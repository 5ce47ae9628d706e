"""The losses of IDSNN (Fan et al. 2023, eq. 6-8), and their variants that judge each time step.

Letters: T time steps, B batch, K classes. Student logits are (T, B, K), one row a step; teacher logits (B, K).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.recipe import Loss


@dataclass(frozen=True)
class LossTerms:
    """Scalars. ``kl`` is not yet weighted by alpha * temperature^2; it is 0 where nothing is distilled."""

    total: Tensor
    ce: Tensor
    kl: Tensor


def distillation_loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, settings: Loss) -> LossTerms:
    """``total = CE + alpha temperature^2 KL`` (eq. 6).

    With ``normalise`` the total is divided by ``1 + alpha temperature^2``, so that the gradient keeps about the size
    that CE alone has and one learning rate serves every alpha. The paper does not divide.

    Args:
        logits: the student's, (T, B, K).
        labels: (B,), int64.
        teacher_logits: (B, K); may be None for ``alpha = 0``.
    """
    logits = logits.float()
    mean = logits.mean(0)
    per_step = "steps" in (settings.ce, settings.kl)
    steps = logits.flatten(0, 1) if per_step else mean
    ce = cross_entropy(*_judged(settings.ce, mean, steps, labels), settings.label_smoothing)
    if teacher_logits is None or settings.alpha == 0:
        if settings.alpha:
            raise ValueError(f"alpha is {settings.alpha}, but there are no teacher logits")
        return LossTerms(ce, ce.detach(), torch.zeros_like(ce.detach()))
    kl = kl_divergence(*_judged(settings.kl, mean, steps, teacher_logits.float()), settings.temperature)
    weight = settings.alpha * settings.temperature**2
    total = ce + weight * kl
    return LossTerms(total / (1 + weight) if settings.normalise else total, ce.detach(), kl.detach())


def _judged(on: str, mean: Tensor, steps: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the targets to hold them against: the mean over T (B rows), or each step's (T*B rows)."""
    if on == "mean":
        return mean, target
    return steps, target.repeat(len(steps) // len(target), *(1,) * (target.dim() - 1))


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """``CE = -mean_n sum_k q[n, k] log softmax(z[n])[k]`` (eq. 8) for logits z (N, K) and labels y (N,).

    ``q[n, k] = (1 - s) [k = y_n] + s / K`` with label smoothing s.
    """
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def kl_divergence(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """``KL = mean_n sum_k p[n, k] (log p[n, k] - log q[n, k])``, ``p = softmax(z_teacher / temperature)``,
    ``q = softmax(z / temperature)``, both (N, K).

    Eq. 7 writes the two the other way round; this is the authors' code, and Hinton et al. 2015.
    """
    student = F.log_softmax(logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)
