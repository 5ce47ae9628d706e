"""One module for every network a :class:`ResNetSpec` describes, with torchvision's parameter names.

Each call site is a submodule of its own (``layer1.0.relu1``, ``layer1.0.add``), so that tracing names every node by
its path. Letters: N batch, C channels, H height, W width, F features, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from idsnn_convert.passes.resnet.spec import BLOCKS, MULTIPLIED, PADDED, ResNetSpec
from idsnn_convert.runtime.modules import Add, Complement, GlobalAvgPool, Mul, Pad, Slice

OPEN_END = 2**63 - 1
"""The ``stop`` of a slice that runs to the end, as torch.export writes it."""


class _Base(nn.Module):
    """A block's layers ``conv1``, ``bn1``, ``relu1``, ``conv2``, ...; what follows what is its heirs' affair."""

    def __init__(self, spec: ResNetSpec, stage: int, block: int, relus: int | None = None) -> None:
        super().__init__()
        self.convs = BLOCKS[spec.block]
        for i, conv in enumerate(_convs(spec, stage, block), start=1):
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(conv.in_channels if spec.preact else conv.out_channels))
            if relus is None or i <= relus:
                self.add_module(f"relu{i}", nn.ReLU())
        self.downsample = _shortcut(spec, stage) if spec.projects(stage, block) else None

    def through(self, x: Tensor, i: int, *layers: str) -> Tensor:
        """``x`` through these layers of number ``i``."""
        for layer in layers:
            x = self.get_submodule(f"{layer}{i}")(x)
        return x

    def shortcut(self, x: Tensor) -> Tensor:
        found: Tensor = x if self.downsample is None else self.downsample(x)
        return found


class Block(_Base):
    """conv-BN-ReLU-...-conv-BN, add, and a ReLU if ``relu_after``; the last convolution is followed by no ReLU."""

    def __init__(self, spec: ResNetSpec, stage: int, block: int) -> None:
        last = block == spec.depths[stage] - 1
        relu_after = spec.after_add == "block" or (spec.after_add == "stage" and last)
        super().__init__(spec, stage, block, relus=BLOCKS[spec.block] - (not relu_after))
        self.add, self.relu_after = Add(), relu_after

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i in range(1, self.convs):
            out = self.through(out, i, "conv", "bn", "relu")
        out = self.add(self.through(out, self.convs, "conv", "bn"), self.shortcut(x))
        return self.through(out, self.convs, "relu") if self.relu_after else out


class PreactBlock(_Base):
    """BN-ReLU-conv, two or three times, add (He et al. 2016); a shortcut with tensors reads what the first ReLU gives."""

    def __init__(self, spec: ResNetSpec, stage: int, block: int) -> None:
        super().__init__(spec, stage, block)
        self.add = Add()

    def forward(self, x: Tensor) -> Tensor:
        activated = self.through(x, 1, "bn", "relu")
        out = self.through(activated, 1, "conv")
        for i in range(2, self.convs + 1):
            out = self.through(out, i, "bn", "relu", "conv")
        result: Tensor = self.add(out, x if self.downsample is None else self.downsample(activated))
        return result


class SewBlock(_Base):
    """conv-BN-ReLU, two or three times, then g(branch, shortcut) (Fang et al. 2021): their sum, their product (AND), or
    the product of 1 - branch and shortcut (IAND). A shortcut with tensors ends in a ReLU too."""

    def __init__(self, spec: ResNetSpec, stage: int, block: int) -> None:
        super().__init__(spec, stage, block)
        if self.downsample is not None and spec.shortcut not in PADDED:
            self.downsample.add_module("relu", nn.ReLU())
        self.complement = Complement() if spec.residual == "sew-iand" else None
        self.join = "mul" if spec.residual in MULTIPLIED else "add"
        self.add_module(self.join, Mul() if spec.residual in MULTIPLIED else Add())

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i in range(1, self.convs + 1):
            out = self.through(out, i, "conv", "bn", "relu")
        out = out if self.complement is None else self.complement(out)
        result: Tensor = self.get_submodule(self.join)(out, self.shortcut(x))
        return result


class MembraneBlock(_Base):
    """ReLU-conv-BN, two or three times, add (Hu et al. 2021); the shortcut carries what the block is given, unfired."""

    def __init__(self, spec: ResNetSpec, stage: int, block: int) -> None:
        super().__init__(spec, stage, block)
        self.add = Add()

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i in range(1, self.convs + 1):
            out = self.through(out, i, "relu", "conv", "bn")
        result: Tensor = self.add(out, self.shortcut(x))
        return result


KINDS: dict[str, Callable[[ResNetSpec, int, int], nn.Module]] = {
    "plain": Block,
    "sew-add": SewBlock,
    "sew-and": SewBlock,
    "sew-iand": SewBlock,
    "ms": MembraneBlock,
}
"""A kind of residual, see :data:`idsnn_convert.passes.resnet.spec.RESIDUALS` -> its block."""


class ResNet(nn.Module):
    """The network ``spec`` describes: images (N, C, H, W) -> logits (N, K)."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        stem, membrane = spec.stem, spec.residual == "ms"
        self.conv1 = nn.Conv2d(spec.in_channels, stem.width, stem.kernel, stem.stride, stem.padding, bias=False)
        self.bn1 = None if spec.preact else nn.BatchNorm2d(stem.width)
        self.relu = None if spec.preact or membrane else nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem.pool else None
        kind = PreactBlock if spec.preact else KINDS[spec.residual]
        for stage, depth in enumerate(spec.depths):
            self.add_module(f"layer{stage + 1}", nn.Sequential(*(kind(spec, stage, block) for block in range(depth))))
        self.bn_last = nn.BatchNorm2d(spec.outputs[-1]) if spec.final_norm else None
        self.relu_last = nn.ReLU() if spec.final_norm or membrane else None
        self.avgpool = nn.AvgPool2d(spec.window) if spec.window else GlobalAvgPool()
        self.flatten = nn.Flatten(1)
        if spec.hidden:
            self.fc_hidden = nn.Linear(spec.features, spec.hidden)
            self.relu_hidden = nn.ReLU()
        self.fc = nn.Linear(spec.hidden or spec.features, spec.classes, bias=spec.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = _through(x, self.conv1, self.bn1, self.relu, self.maxpool)
        for stage in range(len(self.spec.depths)):
            x = self.get_submodule(f"layer{stage + 1}")(x)  # (N, outputs[stage], H, W)
        x = _through(x, self.bn_last, self.relu_last)
        x = self.flatten(self.avgpool(x))  # (N, F)
        if self.spec.hidden:
            x = self.relu_hidden(self.fc_hidden(x))
        logits: Tensor = self.fc(x)
        return logits


@lru_cache(maxsize=8)
def outline(spec: ResNetSpec) -> ResNet:
    """The network's layers without values, on the meta device: one for all who ask, so nobody changes it."""
    with torch.device("meta"):
        return ResNet(spec)


def _through(x: Tensor, *layers: nn.Module | None) -> Tensor:
    for layer in layers:
        x = x if layer is None else layer(x)
    return x


def _convs(spec: ResNetSpec, stage: int, block: int) -> list[nn.Conv2d]:
    """A block's convolutions: 3x3-3x3, or 1x1-3x3-1x1."""
    entry = spec.entries[stage] if block == 0 else spec.outputs[stage]
    stride = spec.strides[stage] if block == 0 else 1
    width, output = spec.widths[stage], spec.outputs[stage]
    if BLOCKS[spec.block] == 2:
        first, last = (1, stride) if spec.stride_at == "last" else (stride, 1)
        return [nn.Conv2d(entry, width, 3, first, 1, bias=False), nn.Conv2d(width, output, 3, last, 1, bias=False)]
    first, middle, last = (stride if at == spec.stride_at else 1 for at in ("1x1", "3x3", "last"))
    return [
        nn.Conv2d(entry, width, 1, first, bias=False),
        nn.Conv2d(width, width, 3, middle, 1, groups=spec.groups, bias=False),
        nn.Conv2d(width, output, 1, last, bias=False),
    ]


def _shortcut(spec: ResNetSpec, stage: int) -> nn.Sequential:
    """What a stage's first block adds: its input brought to the stage's shape."""
    entry, output, stride = spec.entries[stage], spec.outputs[stage], spec.strides[stage]
    if spec.shortcut in PADDED:
        front = 0 if spec.shortcut == "pad-end" else (output - entry) // 2
        pad = Pad((0, 0, 0, 0, front, output - entry - front), "constant", 0.0)
        if spec.shortcut == "pool-pad":  # rounded up, as strides round
            return nn.Sequential(OrderedDict(pool=nn.AvgPool2d(stride, ceil_mode=True), pad=pad))
        rows, columns = Slice(2, 0, OPEN_END, stride), Slice(3, 0, OPEN_END, stride)
        return nn.Sequential(OrderedDict(rows=rows, columns=columns, pad=pad))
    conv = nn.Conv2d(entry, output, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(output)) if spec.shortcut == "projection" else nn.Sequential(conv)


def initialise(network: ResNet, seed: int) -> None:
    """Fresh weights for training ``network`` from scratch, the same for the same seed.

    Convolutions: normal, variance 2 / (kernel^2 * output channels) (He et al. 2015, fan out); batch norms: weight 1, bias 0,
    statistics 0 and 1; linear layers: uniform within 1 / sqrt(inputs), as torch's default.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                for tensor in module.parameters():
                    tensor.uniform_(-bound, bound, generator=generator)
