"""Densely connected networks (Huang et al. 2017): teachers. What a layer gives joins its input, so nothing is added up.

Each call site is a submodule of its own; letters as in :mod:`idsnn_convert.passes.chain.module`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from idsnn_convert.passes.chain.module import TOO_SMALL
from idsnn_convert.passes.resnet.spec import Stem
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape
from idsnn_convert.runtime.modules import Concat, GlobalAvgPool


@dataclass(frozen=True)
class Dense:
    """What a name fixes.

    Attributes:
        depths: layers of each dense block.
        growth: channels that a layer adds; its 1x1 convolution gives four times as many.
        stem: channels of the stem.
    """

    depths: tuple[int, ...]
    growth: int
    stem: int


DENSE: dict[str, Dense] = {"densenet121": Dense((6, 12, 24, 16), growth=32, stem=64)}
"""Name -> network (Huang et al. 2017, table 1: DenseNet-BC, compression 0.5)."""


class DenseLayer(nn.Module):
    """BN-ReLU-conv 1x1-BN-ReLU-conv 3x3, joined to its input: (N, C, H, W) -> (N, C + growth, H, W)."""

    def __init__(self, entry: int, growth: int) -> None:
        super().__init__()
        self.bn1, self.relu1 = nn.BatchNorm2d(entry), nn.ReLU()
        self.conv1 = nn.Conv2d(entry, 4 * growth, 1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.concat = Concat()

    def forward(self, x: Tensor) -> Tensor:
        grown = self.conv2(self.relu2(self.bn2(self.conv1(self.relu1(self.bn1(x))))))
        joined: Tensor = self.concat(x, grown)
        return joined


class DenseNet(nn.Sequential):
    """The network of a row: images (N, C, H, W) -> logits (N, K).

    Args:
        stem: its first convolution, and whether a max pool follows.
        scaled: a number of channels of the row -> that of this network.

    Raises:
        UserError: if the images are too small for its pools.
    """

    def __init__(self, dense: Dense, stem: Stem, input_shape: Shape, classes: int, scaled: Callable[[int], int]) -> None:
        super().__init__()
        channels, growth = stem.width, scaled(dense.growth)
        if min(input_shape[1:]) < 2 ** (len(dense.depths) - 1) * stem.stride * (2 if stem.pool else 1):
            raise UserError(f"images of {input_shape[1]}x{input_shape[2]} are too small for its pools", hint=TOO_SMALL)
        self.conv1 = nn.Conv2d(input_shape[0], channels, stem.kernel, stem.stride, stem.padding, bias=False)
        self.bn1, self.relu1 = nn.BatchNorm2d(channels), nn.ReLU()
        if stem.pool:
            self.maxpool = nn.MaxPool2d(3, 2, 1)
        for stage, depth in enumerate(dense.depths, start=1):
            block = nn.Sequential(*(DenseLayer(channels + i * growth, growth) for i in range(depth)))
            self.add_module(f"dense{stage}", block)
            channels += depth * growth
            if stage < len(dense.depths):
                self.add_module(f"transition{stage}", _transition(channels))
                channels //= 2
        self.bn_last, self.relu_last = nn.BatchNorm2d(channels), nn.ReLU()
        self.avgpool, self.flatten = GlobalAvgPool(), nn.Flatten(1)
        self.fc = nn.Linear(channels, classes)


def _transition(channels: int) -> nn.Sequential:
    """BN-ReLU-conv 1x1 to half the channels, then means over 2x2 pixels."""
    made = nn.Sequential()
    made.bn, made.relu = nn.BatchNorm2d(channels), nn.ReLU()
    made.conv, made.pool = nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)
    return made
