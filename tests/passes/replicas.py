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


class Functional(nn.Module):
    """The CIFAR style: functions instead of layers, and an option A shortcut of strided slices and zero channels."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(cin, cout, 3, stride)
        self.conv2, self.bn2 = conv_bn(cout, cout)
        self.stride, self.grow = stride, cout - cin

    def forward(self, x: Tensor) -> Any:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.grow // 2, self.grow // 2), "constant", 0)
        out += x
        return torch.relu(out)


class ZeroChannels(nn.Module):
    """Option A as fb.resnet.torch wrote it: average pooling, then channels of zeros joined on."""

    def __init__(self, cin: int, zeros: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(cin, 2 * cin, 3, 2)
        self.zeros = zeros

    def forward(self, x: Tensor) -> Any:
        out = self.bn1(self.conv1(x))
        x = F.avg_pool2d(x, 1, 2)
        if self.zeros == "mul":
            x = torch.cat((x, x.mul(0)), 1)
        elif self.zeros == "zeros_like":
            x = torch.cat((torch.zeros_like(x[:, :2]), x, torch.zeros_like(x[:, 2:])), dim=1)
        else:
            x = torch.cat((x, x.new_zeros(x.size(0), x.size(1), x.size(2), x.size(3))), 1)
        return (out + x).relu_()


class SqueezeExcite(nn.Module):
    """A gated residual branch with stochastic depth; ``linear``: the gate's layers are linear, otherwise 1x1 convolutions."""

    def __init__(self, channels: int, linear: bool) -> None:
        super().__init__()
        self.conv, self.bn = conv_bn(channels, channels)
        layer: Any = nn.Linear if linear else lambda cin, cout: nn.Conv2d(cin, cout, 1)
        self.gate = nn.Sequential(layer(channels, 2), nn.ReLU(inplace=True), layer(2, channels), nn.Sigmoid())
        self.linear = linear

    def forward(self, x: Tensor) -> Any:
        out = self.bn(self.conv(x))
        if self.linear:
            n, c, _, _ = out.size()
            gate = self.gate(F.adaptive_avg_pool2d(out, 1).view(n, c)).view(n, c, 1, 1)
            out = out * gate.expand_as(out)
        else:
            out = out * self.gate(out.mean((2, 3), keepdim=True))
        if self.training:
            out = out * (torch.rand(len(x), 1, 1, 1) > 0.5)
        return F.relu(out + x, inplace=True)


class ChannelAttention(nn.Module):
    """ECA: the gate is a one-dimensional convolution over the channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = conv_bn(channels, channels)
        self.over = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Any:
        out = self.bn(self.conv(x))
        gate = self.over(out.mean((2, 3)).view(out.shape[0], 1, -1))
        return F.relu(out * gate.sigmoid().view(out.shape[0], -1, 1, 1).expand_as(out) + x)


class SelectiveKernel(nn.Module):
    """Two paths weighed by a softmax over a stacked axis, as selective-kernel and split-attention blocks do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(conv_bn(channels, channels, kernel) for kernel in (3, 5))
        self.select = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Any:
        stacked = torch.stack([F.relu(path(x)) for path in self.paths], 1)  # (N, 2, C, H, W)
        weights = self.select(stacked.sum(1).mean((2, 3), keepdim=True)).view(x.shape[0], 2, x.shape[1], 1, 1)
        return (stacked * torch.softmax(weights, 1)).sum(dim=1) + x


class Blur(nn.Module):
    """Anti-aliased downsampling: a fixed depthwise kernel in a buffer that no state dict holds."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, channels)
        kernel = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("filt", (kernel[:, None] * kernel / 16).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Any:
        out = F.silu(self.bn1(self.conv1(x)))
        return F.conv2d(F.pad(out, (1, 1, 1, 1), mode="reflect"), self.filt, stride=2, groups=out.shape[1])


class Standardised(nn.Conv2d):
    """A convolution whose weight is computed from its parameter before use."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), None, 1, 1)


class ScaledStandardised(nn.Conv2d):
    """Standardised over its fan in by a batch norm of the weight, times a gain that is learnt (normalisation-free networks)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, weight=(self.gain * 0.1).view(-1), training=True, momentum=0.0)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias, 1, 1)


class NormFree(nn.Module):
    """A pre-activated block without norms: constants keep its scale (Brock et al. 2021)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ScaledStandardised(channels), ScaledStandardised(channels)

    def forward(self, x: Tensor) -> Any:
        out = self.conv2(F.relu(self.conv1(F.relu(x) * 0.7)))
        return out.mul_(0.2) + x


class GlobalContext(nn.Module):
    """A branch to which a mean over the pixels is added, weighed by a softmax over them (Cao et al. 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = conv_bn(channels, channels)
        self.attend, self.fc1 = nn.Conv2d(channels, 1, 1), nn.Conv2d(channels, 4, 1)
        self.norm, self.fc2 = nn.LayerNorm(4), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Any:
        out = self.bn(self.conv(x))
        n, c, h, w = out.shape
        weights = F.softmax(self.attend(out).reshape(n, 1, h * w), dim=-1).unsqueeze(3)
        context = torch.matmul(out.reshape(n, c, h * w).unsqueeze(1), weights).view(n, c, 1, 1)
        context = self.norm(self.fc1(context).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.relu(out + self.fc2(F.relu(context)) + x)


class GroupNormed(nn.Module):
    """A pre-activated block with group norm and a projection that reads what the first norm and ReLU give."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(2, cin), nn.GroupNorm(2, cout)
        self.conv1, self.conv2 = nn.Conv2d(cin, cout, 3, padding=1), nn.Conv2d(cout, cout, 3, padding=1)
        self.project = nn.Conv2d(cin, cout, 1)

    def forward(self, x: Tensor) -> Any:
        out = F.relu(self.norm1(x))
        return self.conv2(F.relu(self.norm2(self.conv1(out)))) + self.project(out)


class SpaceToDepth(nn.Module):
    """(N, C, H, W) -> (N, 4 C, H / 2, W / 2), and a SiLU written out."""

    def forward(self, x: Tensor) -> Any:
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).contiguous().view(n, 4 * c, h // 2, w // 2)
        return x * torch.sigmoid(x)


def network(*blocks: nn.Module, width: int = 8) -> nn.Module:
    """A stem of ``width`` channels, the blocks, global pooling and a head of 5 classes."""
    with torch.no_grad():
        channels = nn.Sequential(*blocks).eval()(torch.zeros(1, width, 16, 16)).shape[1]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))
    return lively(nn.Sequential(nn.Sequential(*conv_bn(3, width), nn.ReLU()), *blocks, head))
