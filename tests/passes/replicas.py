"""Small replicas of how residual networks are written in the wild, for tests that trace or cut them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Calls(nn.Module):
    """A network whose forward is the function given; its layers are its attributes."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(cout))


def lively(network: nn.Module) -> nn.Module:
    """The network in eval mode, with batch norms that do something, so that one left out is noticed."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                if tensor is not None:
                    nn.init.uniform_(tensor, 0.5, 1.5)
    return network.eval()


class Residual(nn.Module):
    """x -> relu(branch(x) + shortcut(x)), with one ReLU layer called twice, in place."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(cin, cout, 3, stride)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv_bn(cout, cout)
        self.downsample = conv_bn(cin, cout, 1, stride) if stride > 1 or cin != cout else None

    def forward(self, x: Tensor) -> Any:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Pyramid(nn.Module):
    """PyramidNet's block: BN-conv-BN-ReLU-conv-BN, and a shortcut of zero channels in front of which it may pool."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.bn0, self.grow = nn.BatchNorm2d(cin), cout - cin
        self.conv1, self.bn1 = conv_bn(cin, cout, 3, stride)
        self.conv2, self.bn2 = conv_bn(cout, cout)
        self.pool = nn.AvgPool2d(2) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Any:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(self.bn0(x))))))
        return out + F.pad(self.pool(x), (0, 0, 0, 0, 0, self.grow))


class Res2(nn.Module):
    """Res2Net's block: the channels in slices, each convolved with what the slice before gave."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels // 4
        self.convs = nn.ModuleList(conv_bn(self.width, self.width) for _ in range(3))
        self.conv3 = conv_bn(channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        parts = torch.split(x, self.width, 1)
        out, made = parts[0], []
        for i, conv in enumerate(self.convs):
            out = self.relu(conv(out if i == 0 else out + parts[i]))
            made.append(out)
        return self.relu(self.conv3(torch.cat([*made, parts[3]], 1)) + x)


def network(*blocks: nn.Module, width: int = 8) -> nn.Module:
    """A stem of ``width`` channels, the blocks, global pooling and a head of 5 classes."""
    channels = [module.num_features for block in blocks for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 5))
    return lively(nn.Sequential(nn.Sequential(*conv_bn(3, width), nn.ReLU()), *blocks, head))
