"""Loop interpolation: a tensor of one size filled from a tensor of another.

IDSNN section 3.2.2 (Fig. 3), first over output channels, then over input channels:
``out[i, j, ...] = in[i mod O_source, j mod I_source, ...]``. A wider target repeats the source's channels in turn,
a narrower one keeps the leading ones. Batch norm's four vectors follow the same rule over their one axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from idsnn_convert.runtime.graph import Shape


def interpolate(source: Tensor, shape: Shape) -> Tensor:
    """``source`` looped to ``shape``: a new contiguous tensor. Only the first two axes may differ in size.

    Raises:
        ValueError: if the number of axes or a kernel size differs.
    """
    if source.dim() != len(shape) or tuple(source.shape[2:]) != tuple(shape[2:]):
        raise ValueError(f"shape {tuple(source.shape)} cannot be looped to {shape}")
    out = source
    for axis in range(min(2, len(shape))):
        if out.shape[axis] != shape[axis]:
            out = out.index_select(axis, torch.arange(shape[axis]) % source.shape[axis])
    return out.clone(memory_format=torch.contiguous_format) if out is source else out.contiguous()


def equals_rule(target: Tensor, source: Tensor, scale: Tensor | float = 1.0) -> bool:
    """Whether ``target`` is ``source`` looped (times ``scale`` over the input channels), bit for bit.

    Compares tile by tile against the source itself, so it shares no step with :func:`interpolate` and needs no copy.
    """
    inner = source.shape[1] if source.dim() > 1 else 1
    for row in range(0, target.shape[0], source.shape[0]):
        rows = target[row : row + source.shape[0]]
        if source.dim() == 1:
            if not torch.equal(rows, source[: len(rows)]):
                return False
            continue
        for column in range(0, target.shape[1], inner):
            tile = rows[:, column : column + inner]
            wanted = source[: tile.shape[0], : tile.shape[1]]
            if isinstance(scale, Tensor):
                wanted = wanted * scale[column : column + inner].view(1, -1, *[1] * (source.dim() - 2))
            elif scale != 1.0:
                wanted = wanted * scale
            if not torch.equal(tile, wanted):
                return False
    return True


Scale = Callable[[Shape, Shape], Tensor | float]
"""Shapes of a conv weight (O, I, k, k) in the source and in the target -> what to multiply the looped weight by:
a number, or a vector over the target's input channels."""


def no_scale(source: Shape, target: Shape) -> float:
    """As the paper: the looped values themselves."""
    return 1.0


def variance_scale(source: Shape, target: Shape) -> float:
    """sqrt((2 / (O_t k k)) / (2 / (O_s k k))) for a wider target: the authors' optional correction to He's variance."""
    return math.sqrt(source[0] / target[0]) if target[0] > source[0] else 1.0


def preserve_scale(source: Shape, target: Shape) -> Tensor | float:
    """1 / (number of times the input channel is repeated): a network widened by it computes the same function."""
    if target[1] <= source[1]:
        return 1.0
    place = torch.arange(target[1]) % source[1]
    return 1.0 / torch.bincount(place, minlength=source[1])[place].to(torch.float32)


SCALES: dict[str, Scale] = {"none": no_scale, "variance": variance_scale, "preserve": preserve_scale}
"""Name of a way to treat repeated channels -> its factor."""


def scaled(looped: Tensor, factor: Tensor | float) -> Tensor:
    """The looped conv weight (O, I, k, k) times its factor."""
    if isinstance(factor, Tensor):
        return looped * factor.view(1, -1, 1, 1)
    return looped if factor == 1.0 else looped * factor
