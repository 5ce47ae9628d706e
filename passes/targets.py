"""The networks a conversion can make: by name, by a description in a file, or the teacher's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

import torch
from torch import nn

from idsnn_convert.passes.chain.archs import CHAINS, Chain
from idsnn_convert.passes.chain.dense import DENSE, Dense, DenseNet
from idsnn_convert.passes.chain.module import ChainNet
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.archs import ARCHS, Arch, find_arch, find_named
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import MULTIPLIED, ResNetSpec, Stem
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.target_file import read_target
from idsnn_convert.passes.types import Canonical, Target, Teacher
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Shape

STEMS: dict[str, Callable[[int], Stem]] = {
    "cifar": lambda width: Stem(width, kernel=3, stride=1, padding=1),
    "imagenet": lambda width: Stem(width, kernel=7, stride=2, padding=3, pool=True),
}
"""Name of a stem -> the stem of a width."""

LARGEST_SMALL_IMAGE = 64
"""Images up to this height and width get the ``cifar`` stem when none is asked for."""

SAME = "same"
"""The target that is the teacher's own graph."""

TARGETS: dict[str, Arch | Chain] = {**ARCHS, **CHAINS}
"""Name -> what it is: a residual network, or one chain of layers, which has no stem or shortcut to choose.

``resnet19`` is that of Zheng et al. 2021: after the mean over the map a linear layer of 256 features, an activation
(which becomes a neuron), and the classifier.
"""

NETWORKS: dict[str, Arch | Chain | Dense] = {**TARGETS, **DENSE}
"""Name -> what a teacher may be trained from: the targets, and what joins its paths as no target does."""

DOWNSAMPLES: dict[str, str] = {
    "projection": "a 1x1 convolution and batch norm, wherever a shape changes",
    "pad": "every stride-th pixel and zero channels (option A of He et al. 2015), without weights",
}
"""How a target's shortcuts change shape: the kinds of :data:`idsnn_convert.passes.resnet.spec.SHORTCUTS` it may have."""


RESIDUAL_OF: dict[str, str] = {
    "spiking": "plain",
    "sew-add": "sew-add",
    "sew-and": "sew-and",
    "sew-iand": "sew-iand",
    "ms": "ms",
}
"""Kind of block a target may have -> its residual, a key of :data:`idsnn_convert.passes.resnet.spec.RESIDUALS`.

``spiking`` is IDSNN's (Fig. 1b): conv-BN-LIF-conv-BN, add, LIF.
"""


def is_file(name: str) -> bool:
    """Whether a target's name is that of a file that describes it: it ends in ``.toml`` or has a folder."""
    return name.endswith(".toml") or "/" in name or "\\" in name


def target_label(name: str) -> str:
    """What to call a target of this name, in a file's name say; refuses a name that nothing can come of.

    Raises:
        UserError: if there is neither such a target nor such a file.
    """
    if is_file(name):
        if not Path(name).is_file():
            raise UserError(f"target {name}: no such file", hint=f"Or a name: {SAME}, {', '.join(TARGETS)}.")
        return Path(name).stem
    if name in DENSE:
        problem = f"{name} is no target: it joins its paths by concatenation, where blocks are matched by what they add"
        raise UserError(problem, hint=f"It makes a teacher (idsnn teach), and a trained one converts with --target {SAME}.")
    if name != SAME:
        find_named(name, "target", TARGETS)
    return name


class Choices(TypedDict, total=False):
    """What may be chosen of a target that has a name, see :func:`target_spec`."""

    stem: str
    downsample: str
    width: float
    block: str


def choose_downsample(name: str, teacher: Graph, block: str = "spiking") -> str:
    """How the target ``name`` had best change shape when its weights come from ``teacher``.

    ``pad`` for resnet8 to resnet110, as that family was published, where no shortcut of the teacher has weights: a
    projection would have none to start from. Measured (resnet32 -> resnet20, T = 4, CIFAR-10, 10,000 images, top-1 after
    1, 2, 3 epochs): pad 43.2, 57.0, 66.2 %; fresh projections 34.4, 44.9, 45.4 %. Else ``projection``; always where
    blocks multiply by their shortcut, since zero channels would stay silent for good.

    Raises:
        UserError: on an unknown name or block, or a teacher that :func:`idsnn_convert.passes.segment.segment` refuses.
    """
    arch = find_named(name, "target", TARGETS)
    if not isinstance(arch, Arch) or not arch.pads or _residual(block) in MULTIPLIED:
        return "projection"
    weighted = any(teacher[node].op == "conv2d" for block in segment(teacher).blocks for node in block.shortcut)
    return "projection" if weighted else "pad"


def _residual(block: str) -> str:
    if block not in RESIDUAL_OF:
        raise UserError(f"unknown block {block!r}", hint=f"Known: {', '.join(RESIDUAL_OF)}.")
    return RESIDUAL_OF[block]


def target_spec(
    name: str,
    *,
    input_shape: Shape,
    classes: int,
    stem: str = "auto",
    downsample: str = "projection",
    width: float = 1.0,
    block: str = "spiking",
) -> ResNetSpec:
    """The target ``name`` for images of ``input_shape`` (C, H, W) and so many classes.

    Args:
        stem: ``cifar`` (3x3, stride 1), ``imagenet`` (7x7, stride 2, max pool), or ``auto``: ``cifar`` for images up to
            64x64 and for the families made for small images, else ``imagenet``.
        downsample: how shortcuts change shape, a key of :data:`DOWNSAMPLES`.
        width: factor on all channels but those of the images, rounded to whole groups.
        block: what its residual blocks are, a key of :data:`RESIDUAL_OF`.

    Raises:
        UserError: on an unknown name, stem, downsample or block, a width that is not positive, images that are not square
            or too small.
    """
    arch = find_arch(name, "target")
    if downsample not in DOWNSAMPLES:
        raise UserError(f"unknown downsample {downsample!r}", hint=f"Known: auto, {', '.join(DOWNSAMPLES)}.")
    scaled = _scaling(width)
    if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
        raise UserError(f"{name} needs square images (C, H, W), not shape {tuple(input_shape)}")
    residual = _residual(block)
    return ResNetSpec(
        name=name if width == 1 else f"{name} x{width:g}",
        block=arch.block,
        depths=arch.depths,
        widths=tuple(scaled(channels, arch.groups) for channels in arch.widths),
        outputs=tuple(scaled(channels) for channels in arch.outputs),
        strides=(1,) + (2,) * (len(arch.depths) - 1),
        stem=_stem(stem, input_shape, scaled(arch.stem), arch.small),
        shortcut=downsample,
        residual=residual,
        after_add="block" if residual == "plain" else "none",
        groups=arch.groups,
        hidden=scaled(arch.hidden) if arch.hidden else 0,
        classes=classes,
        in_channels=input_shape[0],
        input_size=input_shape[1],
    )


def _scaling(width: float) -> Callable[..., int]:
    """(channels, multiple) -> channels of a network ``width`` times as wide, rounded to whole multiples (1 by default)."""
    if not 0 < width <= 64:
        raise UserError(f"width must be above 0 and at most 64, not {width}")
    return lambda channels, multiple=1: max(1, round(channels * width / multiple)) * multiple


def _stem(kind: str, input_shape: Shape, width: int, small: bool = False) -> Stem:
    if kind not in ("auto", *STEMS):
        raise UserError(f"unknown stem {kind!r}", hint=f"Known: auto, {', '.join(STEMS)}.")
    if kind == "auto":
        kind = "cifar" if small or input_shape[1] <= LARGEST_SMALL_IMAGE else "imagenet"
    return STEMS[kind](width)


def build_target(name: str, *, input_shape: Shape, classes: int, **choices: Unpack[Choices]) -> Canonical:
    """The canonical graph of a network of :data:`NETWORKS`; its tensors are on the meta device, shapes without values.

    Raises:
        UserError: as :func:`target_spec`; on a choice that this kind of network does not have.
    """
    row = find_named(name, "target", NETWORKS)
    if isinstance(row, Arch):
        return _of_spec(target_spec(name, input_shape=input_shape, classes=classes, **choices))
    idle: dict[str, tuple[object, object]] = {
        "downsample": (choices.get("downsample", "auto"), "auto"),
        "block": (choices.get("block", "spiking"), "spiking"),
    }
    if isinstance(row, Chain):
        idle["stem"] = (choices.get("stem", "auto"), "auto")
    _refuse_choices(name, **idle)
    scaled = _scaling(choices.get("width", 1.0))
    if isinstance(row, Chain):
        return _traced(lambda: ChainNet(row, input_shape, classes, scaled), input_shape)
    stem = _stem(choices.get("stem", "auto"), input_shape, scaled(row.stem))
    return _traced(lambda: DenseNet(row, stem, input_shape, classes, scaled), input_shape)


def _of_spec(spec: ResNetSpec) -> Canonical:
    return _traced(lambda: ResNet(spec), spec.input_shape)


def _traced(make: Callable[[], nn.Module], input_shape: Shape) -> Canonical:
    with torch.device("meta"):
        network = make()
    traced = trace_known(network, input_shape)
    return replace(traced, graph=traced.graph.without_sources())


def target_for(
    teacher: Teacher,
    name: str,
    *,
    stem: str = "auto",
    downsample: str = "auto",
    width: float = 1.0,
    block: str = "spiking",
) -> Target:
    """The target ``name`` for the teacher's images and classes.

    Args:
        name: a key of :data:`TARGETS`; ``same`` for the teacher's own graph; or a TOML file, see
            :mod:`idsnn_convert.passes.target_file`.
        stem, downsample, width, block: see :func:`target_spec`; ``downsample`` may be ``auto``, see
            :func:`choose_downsample`. They are for targets that have a name of their own.

    Raises:
        UserError: on an unknown name, a file that describes no network, a choice that is unknown or has no place here.
    """
    label = target_label(name)
    shape, classes = teacher.input_shape, teacher.classes
    if name == SAME or is_file(name):
        asked = {"stem": (stem, "auto"), "downsample": (downsample, "auto"), "width": (width, 1.0), "block": (block, "spiking")}
        _refuse_choices(name, **asked)
    if name == SAME:
        return Target(teacher.arch, teacher.graph, {"target": SAME}, same=True)
    if is_file(name):
        spec = read_target(Path(name), input_shape=shape, classes=classes)
        return Target(spec.name, _of_spec(spec).graph, {"target": Path(name).name})
    if name in ARCHS and downsample == "auto":
        downsample = choose_downsample(name, teacher.graph, block)
    choices: Choices = {"stem": stem, "downsample": downsample, "width": width, "block": block}
    return _named(label, choices, shape, classes)


def _named(name: str, choices: Choices, input_shape: Shape, classes: int) -> Target:
    """The target of that name; what is not asked of it is not recorded of it."""
    graph = build_target(name, input_shape=input_shape, classes=classes, **choices).graph
    told = {key: value for key, value in choices.items() if name in ARCHS or value not in ("auto", "spiking")}
    return Target(name, graph, told)


def plain_target(
    name: str,
    *,
    input_shape: Shape,
    classes: int,
    stem: str = "auto",
    downsample: str = "auto",
    width: float = 1.0,
) -> Target:
    """The network ``name`` as an ANN for images of ``input_shape`` (C, H, W): what a teacher is trained from.

    Args:
        name: a key of :data:`NETWORKS`, or a TOML file.
        downsample: a key of :data:`DOWNSAMPLES`; ``auto`` is how the network was published.

    Raises:
        UserError: as :func:`target_for`.
    """
    if name == SAME:
        raise UserError(f"{SAME} is no network of its own", hint=f"Known: {', '.join(NETWORKS)}; or a TOML file.")
    if is_file(name):
        target_label(name)
        _refuse_choices(name, stem=(stem, "auto"), downsample=(downsample, "auto"), width=(width, 1.0))
        spec = read_target(Path(name), input_shape=input_shape, classes=classes)
        return Target(spec.name, _of_spec(spec).graph, {"target": Path(name).name})
    row = find_named(name, "network", NETWORKS)
    if isinstance(row, Arch) and downsample == "auto":
        downsample = "pad" if row.pads else "projection"
    return _named(name, {"stem": stem, "downsample": downsample, "width": width}, input_shape, classes)


def _refuse_choices(name: str, **chosen: tuple[object, object]) -> None:
    """Raises UserError if a choice differs from its default: the target's file, or the teacher, says all there is to say."""
    if changed := [key for key, (value, default) in chosen.items() if value != default]:
        told = (
            "takes all from the teacher"
            if name == SAME
            else "is described by its file"
            if is_file(name)
            else "has one form alone"
        )
        raise UserError(f"target {name} {told}, so its {changed[0]} cannot be chosen", hint=f"Leave out {changed[0]}.")
