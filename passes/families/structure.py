"""Reads a residual network's structure off the shapes of its tensors, under the names of our ResNet module."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from idsnn_convert.passes.resnet.archs import arch_name
from idsnn_convert.passes.resnet.module import outline
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape

Shapes = Mapping[str, Shape]

ANCHORS = ("conv1.weight", "layer1.0.conv1.weight", "fc.weight")
"""Without these tensors there is no residual network to read."""

STEMS: dict[int, tuple[int, int, bool]] = {3: (1, 1, False), 7: (2, 3, True)}
"""Kernel of the first convolution -> the stride, padding and pool that go with it by custom."""

BLOCKS = {2: "basic", 3: "bottleneck"}


def read_structure(shapes: Shapes, input_size: int | None = None) -> ResNetSpec:
    """The network whose tensors have these shapes; what shapes do not tell is as He et al. 2015 and torchvision have it.

    Args:
        shapes: our name -> shape; holds the :data:`ANCHORS`.
        input_size: height and width of the images; None for the usual one: 28 for one channel, else 32 behind a 3x3
            stem and 224 behind a 7x7 one.

    Raises:
        UserError: naming the tensor that no residual network would have, or that one must have.
    """
    spec = _read(shapes, input_size)
    spec = replace(spec, window=window_of(spec, _sizes(shapes, "fc_hidden.weight" if spec.hidden else "fc.weight", 2)[1]))
    return replace(spec, name=arch_name(spec))


def _read(shapes: Shapes, input_size: int | None) -> ResNetSpec:
    depths = _depths(shapes)
    convs = next((i for i in range(1, 9) if f"layer1.0.conv{i + 1}.weight" not in shapes), 0)
    if convs not in BLOCKS:
        raise UserError(f"layer1.0 has {convs} convolutions; a residual block has 2 (basic) or 3 (bottleneck)")
    stages = range(1, len(depths) + 1)
    widths = tuple(_sizes(shapes, f"layer{stage}.0.conv1.weight", 4)[0] for stage in stages)
    outputs = tuple(_sizes(shapes, f"layer{stage}.0.conv{convs}.weight", 4)[0] for stage in stages)
    stem_width, in_channels, kernel, _ = _sizes(shapes, "conv1.weight", 4)
    stem = _stem(stem_width, kernel)
    projected = [f"layer{stage}.0.downsample.0.weight" in shapes for stage in stages]
    changes = [before != after for before, after in zip((stem_width, *outputs), outputs, strict=False)]
    preact = "bn1.weight" not in shapes
    classes, last = _sizes(shapes, "fc.weight", 2)
    return ResNetSpec(
        name="the network",
        block=("preact-" if preact else "") + BLOCKS[convs],
        depths=depths,
        widths=widths,
        outputs=outputs,
        strides=(1, *(2 if p or c else 1 for p, c in zip(projected[1:], changes[1:], strict=True))),
        stem=stem,
        classes=classes,
        groups=_groups(shapes) if convs == 3 else 1,
        shortcut=_shortcut(shapes, projected, changes),
        projected_entry=projected[0] and not changes[0],
        after_add="none" if preact else "block",
        final_norm="bn_last.weight" in shapes,
        hidden=last if "fc_hidden.weight" in shapes else 0,
        bias="fc.bias" in shapes,
        in_channels=in_channels,
        input_size=_input_size(input_size, in_channels, stem),
    )


def _sizes(shapes: Shapes, name: str, dimensions: int) -> Shape:
    if name not in shapes:
        raise UserError(f"tensor {name!r} is missing")
    if len(shapes[name]) != dimensions or 0 in shapes[name]:
        raise UserError(f"tensor {name!r} has shape {shapes[name]}; {dimensions} dimensions that are not empty are needed")
    return shapes[name]


def _depths(shapes: Shapes) -> tuple[int, ...]:
    """Blocks of each stage; stages count from 1 and blocks from 0, without gaps."""
    blocks: dict[int, set[int]] = {}
    for name in shapes:
        if found := re.match(r"layer(\d+)\.(\d+)\.", name):
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    for stage in range(1, max(blocks) + 1):
        there = blocks.get(stage, set())
        for block in range(max(there, default=0) + 1):
            if block not in there:
                raise UserError(f"block layer{stage}.{block} is missing; later ones are there")
    return tuple(len(blocks[stage]) for stage in sorted(blocks))


def _stem(width: int, kernel: int) -> Stem:
    if kernel not in STEMS:
        known = " or ".join(f"{k}x{k}" for k in STEMS)
        raise UserError(f"the first convolution is {kernel}x{kernel}; a stem with {known} is known")
    stride, padding, pool = STEMS[kernel]
    return Stem(width, kernel, stride, padding, pool)


def _groups(shapes: Shapes) -> int:
    width, per_group, *_ = _sizes(shapes, "layer1.0.conv2.weight", 4)
    return max(1, width // per_group)


def _shortcut(shapes: Shapes, projected: list[bool], changes: list[bool]) -> str:
    if not any(projected):
        return "pad" if any(changes) else "projection"
    first = projected.index(True) + 1
    return "projection" if f"layer{first}.0.downsample.1.weight" in shapes else "conv"


def _input_size(told: int | None, in_channels: int, stem: Stem) -> int:
    if told is not None:
        return told
    if in_channels == 1:
        return 28
    return 224 if stem.pool else 32


def window_of(spec: ResNetSpec, features: int) -> int:
    """Side of the head's pooling windows: 0 if the classifier reads one feature a channel.

    Raises:
        UserError: if no window gives so many features.
    """
    channels, size = spec.outputs[-1], spec.map_size
    side = math.isqrt(features // channels)
    if side == 1 and features == channels:
        return 0
    if side == 0 or side * side * channels != features or size % side:
        raise UserError(
            f"the classifier reads {features} features, but the last stage gives {channels} maps of {size}x{size}",
            hint=f"Were the images not {spec.input_size}x{spec.input_size}? Give their size as the input size.",
        )
    return size // side


def check_tensors(spec: ResNetSpec, names: Mapping[str, str], shapes: Shapes) -> None:
    """Holds the tensors against the network ``spec`` describes.

    Args:
        names: our name -> the tensor's name in the file.
        shapes: our name -> shape.

    Raises:
        UserError: naming the first tensor that is missing, of another shape, or without a place in it.
    """
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in outline(spec).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    what = f"read as {spec.name}"
    for name, shape in wanted.items():
        if name not in shapes:
            raise UserError(f"{what}, the network needs a tensor of shape {shape} for {name!r}, and the file has none")
        if shapes[name] != shape:
            raise UserError(f"{what}, tensor {names[name]!r} must have shape {shape}, not {shapes[name]}")
    if extra := [name for name in shapes if name not in wanted]:
        raise UserError(f"{what}, the network has no place for tensor {names[extra[0]]!r} of shape {shapes[extra[0]]}")
