"""The losses between a student's answers, the labels and a teacher's answers, each a term of one sum.

IDSNN (Fan et al. 2023, eq. 6-8) judges the mean over time. "Temporal-wise" distillation (Yu et al. 2025, ICML, "Efficient
logit-based knowledge distillation of deep spiking neural networks for full-range timestep deployment") judges each step
by label and teacher, and by the steps' ensemble, so that the network can stop after any number of steps.

Kushawaha et al. 2021 ("Distilling spikes") hold a student's output spikes against a spiking teacher's in a window that
slides over the steps: here the means of their logits there, since these outputs do not fire.

Letters: T time steps, B batch, K classes. Student logits are (T, B, K), one row a step; teacher logits (B, K).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.readout import Readout
from idsnn_convert.runtime.recipe import Loss


@dataclass(frozen=True)
class LossTerms:
    """Scalars. Only ``total`` has gradients and weights; the terms are bare, 0 where the recipe leaves them out.

    Attributes:
        right: share of the images whose answer is their label, or the likeliest of their soft labels.
    """

    total: Tensor
    ce: Tensor
    kl: Tensor
    ensemble: Tensor
    tap: Tensor
    right: Tensor

    def row(self) -> Tensor:
        """All of them in this order (6,), without gradients."""
        return torch.stack([getattr(self, field.name).detach() for field in fields(self)])


def total_loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor | None,
    settings: Loss,
    readout: Readout | None = None,
    tap: Tensor | None = None,
) -> LossTerms:
    """``total = CE + alpha temperature^2 KL + ensemble_weight temperature^2 ENSEMBLE + tap_weight TAP``.

    The first two are eq. 6. With ``normalise`` the total is divided by ``1 + (alpha + ensemble_weight) temperature^2``,
    so that the gradient keeps about the size that CE alone has and one learning rate serves all weights. Neither paper
    divides.

    Args:
        logits: the student's, (T, B, K).
        labels: int64 (B,), or soft ones: float (B, K), each row a distribution.
        teacher_logits: (B, K), or a spiking teacher's of each step, (T, B, K), where ``kl`` is not ``mean``; may be None for
            ``alpha = 0``.
        readout: how one answer is made of all steps; by default the mean.
        tap: the distance of feature maps; may be None for ``tap_weight = 0``.
    """
    logits = logits.float()
    answer = (readout or Readout())(logits)
    none = torch.zeros((), device=logits.device)
    ce = cross_entropy(*_judged(settings.ce, answer, logits, labels), settings.label_smoothing)
    kl = ensemble = none
    squared = settings.temperature**2
    if settings.alpha:
        if teacher_logits is None:
            raise ValueError(f"alpha is {settings.alpha}, but there are no teacher logits")
        judged = _judged(settings.kl, answer, logits, teacher_logits.float(), settings.window)
        kl = kl_divergence(*judged, settings.temperature)
    if settings.ensemble_weight:
        target = (answer if settings.ensemble == "all" else right_steps(logits, labels)).detach()
        ensemble = kl_divergence(*_judged("steps", answer, logits, target), settings.temperature)
    total = ce + settings.alpha * squared * kl + settings.ensemble_weight * squared * ensemble
    if settings.tap_weight:
        if tap is None:
            raise ValueError(f"tap_weight is {settings.tap_weight}, but there are no feature maps")
        total = total + settings.tap_weight * tap
    if settings.normalise:
        total = total / (1 + (settings.alpha + settings.ensemble_weight) * squared)
    right = (answer.argmax(-1) == hard(labels)).float().mean()
    return LossTerms(total, ce.detach(), kl.detach(), ensemble.detach(), none if tap is None else tap.detach(), right)


def _judged(on: str, answer: Tensor, logits: Tensor, target: Tensor, window: int = 1) -> tuple[Tensor, Tensor]:
    """Logits and the targets to hold them against: the answer (B rows), each step's (T*B rows), or each window's."""
    if on == "mean":
        return answer, target
    timed = target.dim() == logits.dim()
    if on == "windows":
        logits, target = over_windows(logits, window), over_windows(target, window) if timed else target
    return logits.flatten(0, 1), target.flatten(0, 1) if timed else target.repeat(len(logits), *(1,) * (target.dim() - 1))


def over_windows(logits: Tensor, window: int) -> Tensor:
    """The mean of every ``window`` steps in a row, of all if there are fewer: (T, B, K) -> (T - window + 1, B, K)."""
    return logits.unfold(0, min(window, len(logits)), 1).mean(-1)


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """``CE = -mean_n sum_k q[n, k] log softmax(z[n])[k]`` (eq. 8) for logits z (N, K).

    ``q[n, k] = (1 - s) p[n, k] + s / K`` with label smoothing s, where p are the soft labels (N, K), or 1 at the label of
    int64 labels (N,) and 0 elsewhere.
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


def right_steps(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of the logits of those steps that answer right, (T, B, K) -> (B, K); 0, so no opinion, where none does.

    What the authors of Yu et al. 2025 take for the ensemble in their code; the paper takes all steps.
    """
    right = (logits.argmax(-1) == hard(labels)).to(logits.dtype)[..., None]  # (T, B, 1)
    return (logits * right).sum(0) / right.sum(0).clamp_min(1)


def hard(labels: Tensor) -> Tensor:
    """Labels (B,) as they are; of soft ones (B, K) the likeliest class."""
    return labels.argmax(-1) if labels.dim() > 1 else labels
