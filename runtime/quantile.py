"""The largest of more numbers than fit into memory, or the number that a share of them does not exceed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 1 << 16


class Quantile:
    """Is given numbers a tensor at a time, and keeps :data:`BINS` counts of those above 0.

    The bins are of equal width, from 0 to at least the largest number; where a larger one comes, pairs of bins become
    one. So a percentile is told to within ``2 / BINS`` of the largest number, and does not depend on the order.
    """

    def __init__(self, percentile: float = 100.0) -> None:
        self.percentile, self.largest, self.count = percentile, -math.inf, 0
        self._top, self._counts = 0.0, torch.zeros(BINS, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        self.count += values.numel()
        self.largest = max(self.largest, values.max().item())
        if self.percentile < 100 and self.largest > 0:
            self._widen()
            bins = (values[values > 0].double() * (BINS / self._top)).long().clamp_(max=BINS - 1)
            self._counts += torch.bincount(bins, minlength=BINS).cpu()

    def _widen(self) -> None:
        """Tops are powers of 2, so that they do not depend on which number came first."""
        wanted = 2.0 ** math.ceil(math.log2(self.largest))
        while self._top and self._top < wanted:
            pairs = self._counts.view(-1, 2).sum(1)
            self._counts, self._top = torch.cat([pairs, torch.zeros_like(pairs)]), 2 * self._top
        self._top = self._top or wanted

    @property
    def value(self) -> float:
        """The upper end of the bin that holds the smallest number which the percentile does not exceed (nearest rank), at most
        the largest; 0 where that number is not above 0; the largest itself for 100."""
        if self.percentile >= 100 or self.largest <= 0:
            return self.largest
        rank = math.ceil(self.count * self.percentile / 100)
        below = self.count - int(self._counts.sum())
        if rank <= below:
            return 0.0
        place = int(torch.searchsorted(self._counts.cumsum(0), rank - below))
        return min((place + 1) * self._top / BINS, self.largest)
