"""How authors name the tensors of a residual network: one row a scheme, each rule from their name to ours.

Ours are torchvision's: ``conv1``, ``bn1``, ``layer1.0.conv1``, ``layer1.0.bn1``, ``layer1.0.downsample.0``, ``fc``
(:mod:`idsnn_convert.passes.resnet.module`). To read another scheme, add its rules and its row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from idsnn_convert.passes.resnet.spec import ResNetSpec

Rule = tuple[str, Callable[[re.Match[str]], str]]
"""A pattern that a whole tensor name must match, and what it is called here."""


@dataclass(frozen=True)
class Scheme:
    """One family's naming.

    Attributes:
        fits: whether a network read under these names is of this family, where another row reads the same names; else None.
        choices: what the shapes leave open, likeliest first: changes to the specification that was read.
    """

    family: str
    rules: tuple[Rule, ...]
    fits: Callable[[ResNetSpec], bool] | None = None
    choices: tuple[Mapping[str, Any], ...] = ({},)

    def rename(self, name: str) -> str | None:
        """Our name for a tensor, or None if the scheme has no such name."""
        for matched, ours in self._compiled:
            if found := matched(name):
                return ours(found)
        return None

    @cached_property
    def _compiled(self) -> list[tuple[Callable[[str], re.Match[str] | None], Callable[[re.Match[str]], str]]]:
        return [(re.compile(pattern).fullmatch, ours) for pattern, ours in self.rules]


_BLOCK = r"layer(\d+)\.(\d+)"
_TRUNK: tuple[Rule, ...] = (
    (r"(conv1|bn1|fc_hidden)\.(\w+)", lambda m: f"{m[1]}.{m[2]}"),
    (_BLOCK + r"\.(conv\d|bn\d)\.(\w+)", lambda m: f"layer{m[1]}.{m[2]}.{m[3]}.{m[4]}"),
    (r"(?:bn|norm|bn_last)\.(\w+)", lambda m: f"bn_last.{m[1]}"),
    (r"(?:fc|linear|last_linear|classifier|head|head\.fc)\.(\w+)", lambda m: f"fc.{m[1]}"),
)
_SHORTCUT: Rule = (_BLOCK + r"\.shortcut\.(\d)\.(\w+)", lambda m: f"layer{m[1]}.{m[2]}.downsample.{m[3]}.{m[4]}")
_DOWNSAMPLE: Rule = (_BLOCK + r"\.downsample\.(\d)\.(\w+)", lambda m: m[0])

_RESIDUAL = ("conv", "bn", "")  # a Sequential of convolution, batch norm, ReLU, over and over
_WEIAICUNZAI: tuple[Rule, ...] = (
    (r"conv1\.0\.(\w+)", lambda m: f"conv1.{m[1]}"),
    (r"conv1\.1\.(\w+)", lambda m: f"bn1.{m[1]}"),
    (
        r"conv(\d)_x\.(\d+)\.residual_function\.(\d)\.(\w+)",
        lambda m: f"layer{int(m[1]) - 1}.{m[2]}.{_RESIDUAL[int(m[3]) % 3]}{int(m[3]) // 3 + 1}.{m[4]}",
    ),
    (r"conv(\d)_x\.(\d+)\.shortcut\.(\d)\.(\w+)", lambda m: f"layer{int(m[1]) - 1}.{m[2]}.downsample.{m[3]}.{m[4]}"),
    (r"fc\.(\w+)", lambda m: f"fc.{m[1]}"),
)

_PYCLS: tuple[Rule, ...] = (
    (r"stem\.conv\.(\w+)", lambda m: f"conv1.{m[1]}"),
    (r"stem\.bn\.(\w+)", lambda m: f"bn1.{m[1]}"),
    (r"s(\d)\.b(\d+)\.f\.([abc])\.(\w+)", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.conv{'abc'.index(m[3]) + 1}.{m[4]}"),
    (r"s(\d)\.b(\d+)\.f\.([abc])_bn\.(\w+)", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.bn{'abc'.index(m[3]) + 1}.{m[4]}"),
    (r"s(\d)\.b(\d+)\.proj\.(\w+)", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.downsample.0.{m[3]}"),
    (r"s(\d)\.b(\d+)\.bn\.(\w+)", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.downsample.1.{m[3]}"),
    (r"head\.fc\.(\w+)", lambda m: f"fc.{m[1]}"),
)

_HF_PART = {"convolution": "conv", "normalization": "bn"}
_HF_BLOCK = r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)"
_HUGGING_FACE: tuple[Rule, ...] = (
    (
        r"(?:resnet\.)?embedder\.embedder\.(convolution|normalization)\.(\w+)",
        lambda m: f"{_HF_PART[m[1]]}1.{m[2]}",
    ),
    (
        _HF_BLOCK + r"\.layer\.(\d)\.(convolution|normalization)\.(\w+)",
        lambda m: f"layer{int(m[1]) + 1}.{m[2]}.{_HF_PART[m[4]]}{int(m[3]) + 1}.{m[5]}",
    ),
    (
        _HF_BLOCK + r"\.shortcut\.(convolution|normalization)\.(\w+)",
        lambda m: f"layer{int(m[1]) + 1}.{m[2]}.downsample.{list(_HF_PART).index(m[3])}.{m[4]}",
    ),
    (r"classifier\.1\.(\w+)", lambda m: f"fc.{m[1]}"),
)


def _is_distiller(spec: ResNetSpec) -> bool:
    """Three narrow stages behind a wide stem, and a head that pools windows."""
    return spec.outputs == (16, 32, 64) and spec.stem.width == 64 and spec.window > 0


def _is_akamaster(spec: ResNetSpec) -> bool:
    return len(spec.depths) == 3 and spec.shortcut == "pad"


_STAGE_RELU: Mapping[str, Any] = {"after_add": "stage"}

SCHEMES: tuple[Scheme, ...] = (
    # Its blocks end at the add; the network activates after each stage (models/cifar10/resnet.py).
    Scheme("karanchahal/distiller", (*_TRUNK, _SHORTCUT), _is_distiller, choices=(_STAGE_RELU, {})),
    Scheme("akamaster CIFAR ResNet", _TRUNK, _is_akamaster),
    Scheme("torchvision/timm", (*_TRUNK, _DOWNSAMPLE)),
    Scheme("kuangliu/pytorch-cifar", (*_TRUNK, _SHORTCUT), choices=({}, _STAGE_RELU)),
    Scheme("weiaicunzai/pytorch-cifar100", _WEIAICUNZAI),
    Scheme("pycls", _PYCLS),
    Scheme("Hugging Face", _HUGGING_FACE),
)
"""In the order of preference; where several read a file alike, the first names the family."""
