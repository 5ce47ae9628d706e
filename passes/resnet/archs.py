"""The residual networks that have a name of their own: what targets are built from and recognised networks are called."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from idsnn_convert.passes.resnet.spec import BLOCKS, ResNetSpec
from idsnn_convert.runtime.errors import UserError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Arch:
    """What a name fixes: the stages. Stem, input size and number of classes depend on the data.

    Attributes:
        stem: the stem's width; the rest of the fields are those of :class:`ResNetSpec`.
        small: made for small images; it has a 3x3 stem without a pool at any image size.
        pads: published with ``pad`` shortcuts (option A of He et al. 2015).
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    outputs: tuple[int, ...]
    stem: int
    block: str = "basic"
    groups: int = 1
    hidden: int = 0
    small: bool = False
    pads: bool = False


def _basic(*depths: int) -> Arch:
    widths = (64, 128, 256, 512)
    return Arch(depths, widths, widths, stem=64)


def _bottleneck(*depths: int, width: int = 64, groups: int = 1) -> Arch:
    """``width``: of the first stage's 3x3 convolutions, all groups together."""
    widths = (width, 2 * width, 4 * width, 8 * width)
    return Arch(depths, widths, (256, 512, 1024, 2048), stem=64, block="bottleneck", groups=groups)


def _cifar(blocks: int) -> Arch:
    widths = (16, 32, 64)
    return Arch((blocks,) * 3, widths, widths, stem=16, small=True, pads=True)


ARCHS: dict[str, Arch] = {
    "resnet8": _cifar(1),
    "resnet14": _cifar(2),
    "resnet20": _cifar(3),
    "resnet26": _cifar(4),
    "resnet32": _cifar(5),
    "resnet44": _cifar(7),
    "resnet56": _cifar(9),
    "resnet110": _cifar(18),
    "resnet18": _basic(2, 2, 2, 2),
    # Zheng et al. 2021, "Going Deeper With Directly-Trained Larger Spiking Neural Networks", table 1.
    "resnet19": Arch((3, 3, 2), (128, 256, 512), (128, 256, 512), stem=128, hidden=256, small=True),
    "resnet34": _basic(3, 4, 6, 3),
    "resnet50": _bottleneck(3, 4, 6, 3),
    "resnet101": _bottleneck(3, 4, 23, 3),
    "resnet152": _bottleneck(3, 8, 36, 3),
    "wide_resnet50_2": _bottleneck(3, 4, 6, 3, width=128),
    "wide_resnet101_2": _bottleneck(3, 4, 23, 3, width=128),
    "resnext50_32x4d": _bottleneck(3, 4, 6, 3, width=128, groups=32),
    "resnext101_32x8d": _bottleneck(3, 4, 23, 3, width=256, groups=32),
}
"""He et al. 2015 (resnet18 to resnet152; resnet8 to resnet110: section 4.2), Zagoruyko & Komodakis 2016, Xie et al. 2017."""


def find_arch(name: str, what: str) -> Arch:
    """The row of :data:`ARCHS` called ``name``.

    Raises:
        UserError: as :func:`find_named`.
    """
    return find_named(name, what, ARCHS)


def find_named(name: str, what: str, rows: Mapping[str, Row]) -> Row:
    """The row called ``name``.

    Args:
        what: what a name is asked for, for the message: ``target``.

    Raises:
        UserError: if there is none, with the nearest name and the list.
    """
    if name not in rows:
        close = difflib.get_close_matches(name.lower(), rows, n=1, cutoff=0.5)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise UserError(f"unknown {what} {name!r}", hint=f"{meant}Known: {', '.join(rows)}.")
    return rows[name]


def arch_name(spec: ResNetSpec) -> str:
    """What a network is called: a key of :data:`ARCHS`, ``preact_`` before it, or ``resnet(3-4-6-3 basic)``.

    Stem, shortcuts and head vary within a name; depths, widths and groups do not.
    """
    kind = spec.block.removeprefix("preact-")
    for name, arch in ARCHS.items():
        theirs = (arch.block, arch.depths, arch.widths, arch.outputs, arch.groups)
        if theirs == (kind, spec.depths, spec.widths, spec.outputs, spec.groups):
            return f"preact_{name}" if spec.preact else name
    return f"resnet({'-'.join(map(str, spec.depths))} {spec.block})"


def layers(arch: Arch) -> int:
    """Convolutions and linear layers on the longest path: the number in a network's name."""
    return 1 + BLOCKS[arch.block] * sum(arch.depths) + 1 + (arch.hidden > 0)
