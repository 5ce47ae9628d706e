"""Networks of one chain of layers that have a name: the LaSNN students (Hong et al. 2023, section III-A3) and VGG16 teachers.

The students have no bias and no batch norm, average pools, and dropout; ANN and spiking network are of one row. The paper
names them and leaves their widths open. Those here: ``conv3-fc2`` as Cao et al. 2015; the VGGs as Simonyan & Zisserman
2015 and, where shallower, with the widths usual since Rathi et al. 2020; ``resnet12`` as their ResNets: a stem of three
3x3 convolutions with two dropouts between them in the place of the 7x7 one, its pool, four blocks. Numbers count
convolutions and linear layers on the longest path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

WORD = re.compile(r"(?P<residual>R?)(?P<width>\d+)(?:k(?P<kernel>\d+))?(?:/(?P<stride>\d+))?|(?P<other>[AMD])")


@dataclass(frozen=True)
class Layer:
    """One word of a chain.

    Attributes:
        kind: ``conv``, ``residual``, ``mean`` or ``max`` (a pool over 2x2 pixels), ``dropout``.
        width: channels that it gives; 0 where it does not change them.
    """

    kind: str
    width: int = 0
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True)
class Chain:
    """What a name fixes; input size and number of classes depend on the data.

    Attributes:
        features: words: ``64`` a 3x3 convolution of 64 channels and its activation, ``64k5`` a 5x5 one, ``A`` and ``M`` the
            mean and the maximum over 2x2 pixels, ``D`` a dropout, ``R128/2`` a residual block of two 3x3 convolutions whose
            first has stride 2; its shortcut is a 1x1 convolution where the shape changes.
        hidden: features of the linear layers before the classifier; each is followed by an activation and a dropout.
        norm: batch norm behind each convolution, and biases.
        dropout: probability of a dropout among the features, and among the linear layers.
    """

    features: str
    hidden: tuple[int, ...] = ()
    norm: bool = False
    dropout: tuple[float, float] = (0.2, 0.5)

    def layers(self) -> Iterator[Layer]:
        """The words of ``features``, read."""
        kinds = {"A": "mean", "M": "max", "D": "dropout"}
        for word in self.features.split():
            found = WORD.fullmatch(word)
            assert found, f"{word!r} is no layer"
            if found["other"]:
                yield Layer(kinds[found["other"]])
            else:
                kind = "residual" if found["residual"] else "conv"
                yield Layer(kind, int(found["width"]), int(found["kernel"] or 3), int(found["stride"] or 1))


CHAINS: dict[str, Chain] = {
    "conv3-fc2": Chain("64k5 A 64k5 A 64 A", hidden=(64,)),
    "vgg5": Chain("64 A 128 D 128 A", hidden=(1024,)),
    "vgg7": Chain("64 A 128 D 128 A 256 D 256 A", hidden=(1024,)),
    "vgg9": Chain("64 A 128 D 256 A 256 D 512 A 512 A 512 D", hidden=(1024,)),
    "vgg16": Chain("64 D 64 A 128 D 128 A 256 D 256 D 256 A 512 D 512 D 512 A 512 D 512 D 512 D", hidden=(4096, 4096)),
    "resnet12": Chain("64 D 64 D 64 A R64 R128/2 R256/2 R512/2"),
    "vgg16_bn": Chain(
        "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M", hidden=(4096, 4096), norm=True, dropout=(0.0, 0.5)
    ),
}
"""Name -> chain. ``vgg16_bn`` is that of torchvision, at 32x32 pixels without its 7x7 map."""
