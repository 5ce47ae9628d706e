"""Surrogate gradients: what stands in for dF/dU of the step function F = 1 if U > v_threshold else 0.

Each takes ``x = U - v_threshold`` and a ``width`` (in units of the potential) and gives the slope at ``x``. All but
``linear`` have area 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Slope = Callable[[Tensor, float], Tensor]


def rectangle(x: Tensor, width: float) -> Tensor:
    """1 / (2 width) inside ``|x| < width``, else 0. STBP (Wu et al. 2018); IDSNN eq. 4, where width is ``lens``."""
    return (x.abs() < width).to(x.dtype) / (2 * width)


def triangle(x: Tensor, width: float) -> Tensor:
    """``max(0, 1 - |x| / width) / width``: a triangle of area 1. Esser et al. 2016; Bellec et al. 2018."""
    return (1 - x.abs() / width).clamp_min(0) / width


def arctan(x: Tensor, width: float) -> Tensor:
    """Derivative of arctan(pi x / (2 width)) / pi + 1/2: 1 / (2 width (1 + (pi x / (2 width))^2)). Fang et al. 2021."""
    return 1 / (2 * width * (1 + (math.pi / (2 * width) * x) ** 2))


def sigmoid(x: Tensor, width: float) -> Tensor:
    """Derivative of sigmoid(x / width): s (1 - s) / width. STBP (Wu et al. 2018), its third curve, where width is a3."""
    s = torch.sigmoid(x / width)
    return s * (1 - s) / width


def linear(x: Tensor, width: float) -> Tensor:
    """``max(0, 1 - |x| / width)``: of height 1 whatever the width. LaSNN eq. 14, where width is the layer's threshold; the
    factor of eq. 15 is the neuron's ``damping``. Divided by the width it would be :func:`triangle`."""
    return (1 - x.abs() / width).clamp_min(0)


SURROGATES: dict[str, Slope] = {
    "rectangle": rectangle,
    "triangle": triangle,
    "arctan": arctan,
    "sigmoid": sigmoid,
    "linear": linear,
}
"""Name in a checkpoint or a recipe -> slope."""
