"""The networks a conversion can make, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.archs import ARCHS, Arch, find_arch
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import Canonical
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Shape

STEMS: dict[str, Callable[[int], Stem]] = {
    "cifar": lambda width: Stem(width, kernel=3, stride=1, padding=1),
    "imagenet": lambda width: Stem(width, kernel=7, stride=2, padding=3, pool=True),
}
"""Name of a stem -> the stem of a width."""

LARGEST_SMALL_IMAGE = 64
"""Images up to this height and width get the ``cifar`` stem when none is asked for."""

TARGETS: dict[str, Arch] = ARCHS
"""Name -> what it is.

``resnet19`` is that of Zheng et al. 2021: after the mean over the map a linear layer of 256 features, an activation
(which becomes a neuron), and the classifier.
"""

DOWNSAMPLES: dict[str, str] = {
    "projection": "a 1x1 convolution and batch norm, wherever a shape changes",
    "pad": "every stride-th pixel and zero channels (option A of He et al. 2015), without weights",
}
"""How a target's shortcuts change shape: the kinds of :data:`idsnn_convert.passes.resnet.spec.SHORTCUTS` it may have."""


def choose_downsample(name: str, teacher: Graph) -> str:
    """How the target ``name`` had best change shape when its weights come from ``teacher``.

    ``pad`` for resnet8 to resnet110, as that family was published, where no shortcut of the teacher has weights: a
    projection would have none to start from. Measured (resnet32 -> resnet20, T = 4, CIFAR-10, 10,000 images, top-1 after
    1, 2, 3 epochs): pad 43.2, 57.0, 66.2 %; fresh projections 34.4, 44.9, 45.4 %. Else ``projection``.

    Raises:
        UserError: on an unknown name, or a teacher that :func:`idsnn_convert.passes.segment.segment` refuses.
    """
    if not find_arch(name, "target").pads:
        return "projection"
    weighted = any(teacher[node].op == "conv2d" for block in segment(teacher).blocks for node in block.shortcut)
    return "projection" if weighted else "pad"


def target_spec(
    name: str, *, input_shape: Shape, classes: int, stem: str = "auto", downsample: str = "projection", width: float = 1.0
) -> ResNetSpec:
    """The target ``name`` for images of ``input_shape`` (C, H, W) and so many classes.

    Args:
        stem: ``cifar`` (3x3, stride 1), ``imagenet`` (7x7, stride 2, max pool), or ``auto``: ``cifar`` for images up to
            64x64 and for the families made for small images, else ``imagenet``.
        downsample: how shortcuts change shape, a key of :data:`DOWNSAMPLES`.
        width: factor on all channels but those of the images, rounded to whole groups.

    Raises:
        UserError: on an unknown name, stem or downsample, a width that is not positive, images that are not square or too
            small.
    """
    arch = find_arch(name, "target")
    if stem not in ("auto", *STEMS):
        raise UserError(f"unknown stem {stem!r}", hint=f"Known: auto, {', '.join(STEMS)}.")
    if downsample not in DOWNSAMPLES:
        raise UserError(f"unknown downsample {downsample!r}", hint=f"Known: auto, {', '.join(DOWNSAMPLES)}.")
    if not 0 < width <= 64:
        raise UserError(f"width must be above 0 and at most 64, not {width}")
    if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
        raise UserError(f"{name} needs square images (C, H, W), not shape {tuple(input_shape)}")
    if stem == "auto":
        stem = "cifar" if arch.small or input_shape[1] <= LARGEST_SMALL_IMAGE else "imagenet"

    def scaled(channels: int, multiple: int = 1) -> int:
        return max(1, round(channels * width / multiple)) * multiple

    return ResNetSpec(
        name=name if width == 1 else f"{name} x{width:g}",
        block=arch.block,
        depths=arch.depths,
        widths=tuple(scaled(channels, arch.groups) for channels in arch.widths),
        outputs=tuple(scaled(channels) for channels in arch.outputs),
        strides=(1,) + (2,) * (len(arch.depths) - 1),
        stem=STEMS[stem](scaled(arch.stem)),
        shortcut=downsample,
        groups=arch.groups,
        hidden=scaled(arch.hidden) if arch.hidden else 0,
        classes=classes,
        in_channels=input_shape[0],
        input_size=input_shape[1],
    )


def build_target(
    name: str, *, input_shape: Shape, classes: int, stem: str = "auto", downsample: str = "projection", width: float = 1.0
) -> Canonical:
    """The target's canonical graph; its tensors are on the meta device, shapes without values.

    Raises:
        UserError: as :func:`target_spec`.
    """
    spec = target_spec(name, input_shape=input_shape, classes=classes, stem=stem, downsample=downsample, width=width)
    with torch.device("meta"):
        network = ResNet(spec)
    return trace_known(network, input_shape)
