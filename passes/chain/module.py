"""One module for every :class:`idsnn_convert.passes.chain.archs.Chain`.

Each call site is a submodule of its own (``conv1``, ``relu1``, ``block1.add``), so that tracing names every node by its path.
Letters: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from idsnn_convert.passes.chain.archs import Chain, Layer
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape
from idsnn_convert.runtime.modules import Add

TOO_SMALL = "Take larger images, or a network of fewer pools."


class ResidualBlock(nn.Module):
    """conv-ReLU-dropout-conv, add, ReLU; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, entry: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(entry, width, 3, stride, 1, bias=False), nn.ReLU()
        self.drop, self.conv2 = nn.Dropout(dropout), nn.Conv2d(width, width, 3, 1, 1, bias=False)
        changes = stride > 1 or entry != width
        self.downsample = nn.Conv2d(entry, width, 1, stride, bias=False) if changes else None
        self.add, self.relu2 = Add(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(self.drop(self.relu1(self.conv1(x))))
        result: Tensor = self.relu2(self.add(branch, x if self.downsample is None else self.downsample(x)))
        return result


class ChainNet(nn.Sequential):
    """The network of a chain: images (N, C, H, W) -> logits (N, K).

    Args:
        scaled: a number of channels or features of the row -> that of this network.

    Raises:
        UserError: if the images are too small for its pools.
    """

    def __init__(self, chain: Chain, input_shape: Shape, classes: int, scaled: Callable[[int], int]) -> None:
        super().__init__()
        self._norm, (self._drop, drop_linear) = chain.norm, chain.dropout
        self._counts: dict[str, int] = {}
        channels, *size = input_shape
        for layer in chain.layers():
            width = scaled(layer.width) if layer.width else channels
            self._append(layer, channels, width)
            stride = 2 if layer.kind in ("mean", "max") else 1
            size = [n // stride if stride > 1 else -(-n // layer.stride) for n in size]
            channels = width
        if min(size) < 1:
            raise UserError(f"images of {input_shape[1]}x{input_shape[2]} are too small for its pools", hint=TOO_SMALL)
        self.flatten = nn.Flatten(1)
        features = channels * size[0] * size[1]
        for i, hidden in enumerate(map(scaled, chain.hidden), start=1):
            self.add_module(f"fc{i}", nn.Linear(features, hidden, bias=chain.norm))
            self.add_module(f"relu_fc{i}", nn.ReLU())
            self.add_module(f"drop_fc{i}", nn.Dropout(drop_linear))
            features = hidden
        self.fc = nn.Linear(features, classes, bias=chain.norm)

    def _append(self, layer: Layer, entry: int, width: int) -> None:
        if layer.kind == "conv":
            i = self._numbered("conv", nn.Conv2d(entry, width, layer.kernel, padding=layer.kernel // 2, bias=self._norm))
            if self._norm:
                self.add_module(f"bn{i}", nn.BatchNorm2d(width))
            self.add_module(f"relu{i}", nn.ReLU())
        elif layer.kind == "residual":
            self._numbered("block", ResidualBlock(entry, width, layer.stride, self._drop))
        elif layer.kind == "dropout":
            self._numbered("drop", nn.Dropout(self._drop))
        else:
            self._numbered("pool", nn.AvgPool2d(2) if layer.kind == "mean" else nn.MaxPool2d(2))

    def _numbered(self, word: str, module: nn.Module) -> int:
        self._counts[word] = count = self._counts.get(word, 0) + 1
        self.add_module(f"{word}{count}", module)
        return count
