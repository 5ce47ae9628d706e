"""What else one pass over a split tells: who is taken for whom, and what stopping early would cost.

Each measure is told every batch and keeps counts alone, so that memory does not grow with the images.

Letters: T time steps, B batch, K classes, E exit thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Measure = Callable[[Tensor, Tensor], None]
"""Told the answers after each step, logits (T, B, K), and the labels (B,)."""

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""The confidences that a table of early exits goes through."""


def telling_steps(time_steps: int) -> tuple[int, ...]:
    """Numbers of time steps to tell of: all up to 10, then about ten to a power of ten, and the last."""
    spread = {round(10 ** (k / 10)) for k in range(10, 10 * len(str(time_steps)) + 1)}
    return tuple(sorted({*range(1, 11), *spread, time_steps} & {*range(1, time_steps + 1)}))


@dataclass(frozen=True)
class Exit:
    """What early exit at one threshold gives: a network that stops as soon as it is confident enough, at T at the latest.

    Attributes:
        threshold: the confidence to reach, the largest probability that softmax gives the answer so far.
        top1: of the answers given at the exits, in percent.
        steps: images that stopped after 1, 2, ... T steps.
    """

    threshold: float
    top1: float
    steps: tuple[int, ...]

    @property
    def mean_steps(self) -> float:
        """Time steps an image took, on average."""
        return sum(t * images for t, images in enumerate(self.steps, 1)) / sum(self.steps)


class EarlyExits:
    """Every threshold's exits, exact, out of one pass over all T steps: step t does not depend on what comes after it.

    Confidence as the stopping rule: Teerapittayanon et al. 2016 (BranchyNet, there by entropy), over time steps Li et al.
    2023 (SEENN).
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        self.thresholds = tuple(thresholds)
        self._stopped, self._right = torch.zeros(0), torch.zeros(0)

    def __call__(self, answers: Tensor, labels: Tensor) -> None:
        confidence, answer = answers.softmax(-1).max(-1)  # (T, B)
        wanted = torch.tensor(self.thresholds, dtype=confidence.dtype, device=confidence.device)
        enough = confidence >= wanted[:, None, None]  # (E, T, B)
        enough[:, -1] = True
        first = enough.int().argmax(1)  # (E, B)
        exits = torch.nn.functional.one_hot(first, len(answers))  # (E, B, T)
        if not len(self._stopped):
            self._stopped = self._right = torch.zeros(exits.shape[::2], dtype=torch.int64, device=exits.device)
        self._stopped = self._stopped + exits.sum(1)
        self._right = self._right + (exits * (answer == labels).T).sum(1)

    def found(self) -> tuple[Exit, ...]:
        """One row a threshold."""
        rows = zip(self.thresholds, self._right.sum(1).tolist(), self._stopped.tolist(), strict=True)
        return tuple(Exit(threshold, 100 * right / sum(steps), tuple(steps)) for threshold, right, steps in rows)


@dataclass(frozen=True)
class Confusion:
    """``counts[label][answer]`` images, K x K."""

    counts: tuple[tuple[int, ...], ...]

    @property
    def top1_per_class(self) -> tuple[float | None, ...]:
        """In percent of each class's images; None for a class without any."""
        return tuple(100 * row[k] / sum(row) if sum(row) else None for k, row in enumerate(self.counts))

    def worst(self, n: int) -> list[tuple[int, int, int]]:
        """The ``n`` most frequent mistakes: (label, answer, images), most frequent first."""
        wrong = [(k, j, count) for k, row in enumerate(self.counts) for j, count in enumerate(row) if j != k and count]
        return sorted(wrong, key=lambda mistake: -mistake[2])[:n]


class Confusions:
    """Counts what each label is answered with after the last step."""

    def __init__(self) -> None:
        self._counts = torch.zeros(0)

    def __call__(self, answers: Tensor, labels: Tensor) -> None:
        classes = answers.shape[-1]
        pairs = labels * classes + answers[-1].argmax(-1)
        counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
        self._counts = self._counts + counts if len(self._counts) else counts

    def found(self) -> Confusion:
        return Confusion(tuple(map(tuple, self._counts.tolist())))
