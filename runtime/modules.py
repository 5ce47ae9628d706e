"""The stateless modules behind the closed set of operations, where torch has none of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Attr

ACTIVATIONS: dict[str, Callable[[Mapping[str, Attr]], nn.Module]] = {
    "relu": lambda attrs: nn.ReLU(),
    "relu6": lambda attrs: nn.ReLU6(),
    "leaky_relu": lambda attrs: nn.LeakyReLU(float(attrs.get("slope", 0.01))),  # type: ignore[arg-type]
    "elu": lambda attrs: nn.ELU(),
    "silu": lambda attrs: nn.SiLU(),
    "gelu": lambda attrs: nn.GELU(),
    "hardswish": lambda attrs: nn.Hardswish(),
}
"""Kind of an activation site -> its module."""

GATES: dict[str, Callable[[Mapping[str, Attr]], nn.Module]] = {
    "sigmoid": lambda attrs: nn.Sigmoid(),
    "hard_sigmoid": lambda attrs: nn.Hardsigmoid(),
    "softmax": lambda attrs: nn.Softmax(attrs.get("dim", 1)),  # type: ignore[arg-type]
}
"""Kind of a gate -> its module. ``dim``: the axis over which a softmax sums to 1 (0 is the batch)."""


def activation(attrs: Mapping[str, Attr]) -> nn.Module:
    kind = str(attrs["kind"])
    if kind not in ACTIVATIONS:
        raise UserError(f"unknown activation {kind!r}", hint=f"Known: {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[kind](attrs)


def gate(attrs: Mapping[str, Attr]) -> nn.Module:
    kind = str(attrs["kind"])
    if kind not in GATES:
        raise UserError(f"unknown gate {kind!r}", hint=f"Known: {', '.join(GATES)}.")
    return GATES[kind](attrs)


def max_pool(attrs: Mapping[str, Attr]) -> nn.Module:
    window = (attrs["kernel"], attrs["stride"], attrs["padding"], attrs["dilation"])
    return nn.MaxPool2d(*window, ceil_mode=attrs["ceil_mode"])  # type: ignore[arg-type]


def avg_pool(attrs: Mapping[str, Attr]) -> nn.Module:
    window = (attrs["kernel"], attrs["stride"], attrs["padding"], attrs["ceil_mode"], attrs["count_include_pad"])
    return nn.AvgPool2d(*window)  # type: ignore[arg-type]


class Dropout(nn.Dropout):
    """Zeroes values with probability ``p`` and divides the others by 1 - p; of a spiking network the same values at every time
    step (Rathi et al. 2020), (T*B, ...) -> (T*B, ...), time-major.

    Attributes:
        timed: whether its input has a time axis, of ``time_steps`` steps.
        seed: draws the values of one forward where they are timed; so all chunks of its steps lose the same.
    """

    timed = False
    time_steps = 1
    seed = 0

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.timed and self.p):
            return F.dropout(x, self.p, self.training)
        steps = x.unflatten(0, (self.time_steps, x.shape[0] // self.time_steps))
        draw = torch.Generator(x.device).manual_seed(self.seed)
        kept = torch.rand(steps.shape[1:], generator=draw, device=x.device) >= self.p  # whatever the layout of x
        left: Tensor = steps * kept / max(1 - self.p, torch.finfo(x.dtype).tiny)
        return left.flatten(0, 1)


class GlobalAvgPool(nn.Module):
    """(N, C, H, W) -> (N, C, 1, 1), the mean over H and W."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class Add(nn.Module):
    def forward(self, first: Tensor, *rest: Tensor) -> Tensor:
        for other in rest:
            first = first + other
        return first


class Mul(nn.Module):
    def forward(self, first: Tensor, *rest: Tensor) -> Tensor:
        for other in rest:
            first = first * other
        return first


class Scale(nn.Module):
    """x times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Complement(nn.Module):
    """1 - x: the spikes a neuron did not fire."""

    def forward(self, x: Tensor) -> Tensor:
        return 1 - x


class Concat(nn.Module):
    """Joins maps over their channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, 1)


class Pad(nn.Module):
    """Pads the last axes, as :func:`torch.nn.functional.pad` counts them: (left, right, top, bottom, front, back)."""

    def __init__(self, pads: tuple[int, ...], mode: str, value: float) -> None:
        super().__init__()
        self.pads, self.mode, self.value = pads, mode, value

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "constant":
            return F.pad(x, self.pads, "constant", self.value)
        return F.pad(x, self.pads, self.mode)


class Slice(nn.Module):
    """``x[start:stop:step]`` along axis ``dim`` (0 is the batch)."""

    def __init__(self, dim: int, start: int, stop: int, step: int) -> None:
        super().__init__()
        self.dim, self.cut = dim, slice(start, stop, step)

    def forward(self, x: Tensor) -> Tensor:
        return x[(slice(None),) * self.dim + (self.cut,)]


class Reshape(nn.Module):
    """Gives each sample the shape ``shape``."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)


class Permute(nn.Module):
    """Reorders the axes: result axis i is axis ``dims[i - 1]`` of the input; the batch, 0, stays first."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, *self.dims)


class Sum(nn.Module):
    """The sum over axis ``dim`` (0 is the batch), which is gone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(self.dim)
