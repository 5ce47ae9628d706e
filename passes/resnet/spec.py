"""What a residual network is, in full: the description that recognition yields and that targets are built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape

BLOCKS: dict[str, int] = {"basic": 2, "bottleneck": 3, "preact-basic": 2, "preact-bottleneck": 3}
"""Kind of block -> its number of convolutions. A preact block normalises and activates before each of them."""

SHORTCUTS: dict[str, str] = {
    "projection": "a 1x1 convolution and batch norm where the shape changes",
    "conv": "a 1x1 convolution alone where the shape changes",
    "pad": "every stride-th pixel, and zero channels on both sides, where the shape changes (option A of He et al. 2015)",
    "pad-end": "every stride-th pixel, and zero channels behind, where the shape changes (option A, written otherwise)",
    "pool-pad": "means over stride x stride pixels, and zero channels on both sides, where the shape changes",
}

PADDED = ("pad", "pad-end", "pool-pad")
"""The shortcuts without weights."""

RESIDUALS: dict[str, str] = {
    "plain": "branch + shortcut (He et al. 2015)",
    "sew-add": "each batch norm of branch and shortcut fires, then branch + shortcut (Fang et al. 2021)",
    "sew-and": "each batch norm of branch and shortcut fires, then branch * shortcut (Fang et al. 2021)",
    "sew-iand": "each batch norm of branch and shortcut fires, then (1 - branch) * shortcut (Fang et al. 2021)",
    "ms": "each convolution reads spikes and its batch norm adds to membrane currents, which the shortcut carries and only "
    "the head turns to spikes again: branch + shortcut (Hu et al. 2021, MS-ResNet)",
}
"""How branch and shortcut meet, and where a block fires. "Fires": an activation, which conversion makes a neuron.

``sew-add`` counts: n blocks in a row give whole numbers up to n + 1.
"""

MULTIPLIED = ("sew-and", "sew-iand")
"""The residuals that multiply by the shortcut."""

AFTER_ADD: dict[str, str] = {
    "block": "a ReLU after every block's add (He et al. 2015)",
    "stage": "a ReLU after the last block's add of each stage only",
    "none": "no ReLU after an add",
}

STRIDE_AT: dict[str, str] = {
    "3x3": "the first 3x3 convolution, as torchvision (v1.5 of the bottleneck)",
    "1x1": "the first convolution of a bottleneck, as the original Caffe models (v1)",
    "last": "the block's last convolution",
}


@dataclass(frozen=True)
class Stem:
    """What precedes the first stage: convolution, batch norm, ReLU, and a 3x3 max pool of stride 2 if ``pool``.

    In a preact network it is the convolution alone (and the pool), in an ``ms`` network there is no ReLU.
    """

    width: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: bool = False


@dataclass(frozen=True)
class ResNetSpec:
    """A residual network, completely.

    Attributes:
        name: what to call it: ``resnet18``.
        block: a key of :data:`BLOCKS`.
        depths: blocks in each stage.
        widths: channels inside the blocks of each stage: all convolutions of a block but the last give so many.
        outputs: channels each stage gives; equal to ``widths`` for basic blocks, usually 4 times as many for bottlenecks.
        strides: stride of each stage's first block.
        groups: of the 3x3 convolution of a bottleneck (ResNeXt).
        shortcut: a key of :data:`SHORTCUTS`.
        projected_entry: the first block has a projection although its shape does not change.
        residual: a key of :data:`RESIDUALS`; all but ``plain`` are for spiking targets.
        after_add: a key of :data:`AFTER_ADD`; ``none`` where blocks fire elsewhere (preact, ``sew-...``, ``ms``).
        stride_at: the convolution of a block that strides, a key of :data:`STRIDE_AT`.
        final_norm: batch norm and ReLU after the last stage (preact networks).
        window: 0 for the mean over the whole map; k for the means over k x k windows, each a feature of its own.
        hidden: features of a linear layer and ReLU before the classifier; 0 for none.
        input_size: height and width of the images.
    """

    name: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    outputs: tuple[int, ...]
    strides: tuple[int, ...]
    stem: Stem
    classes: int
    block: str = "basic"
    groups: int = 1
    shortcut: str = "projection"
    projected_entry: bool = False
    residual: str = "plain"
    after_add: str = "block"
    stride_at: str = "3x3"
    final_norm: bool = False
    window: int = 0
    hidden: int = 0
    bias: bool = True
    in_channels: int = 3
    input_size: int = 32

    def __post_init__(self) -> None:
        for attribute, known in (
            ("block", BLOCKS),
            ("shortcut", SHORTCUTS),
            ("residual", RESIDUALS),
            ("after_add", AFTER_ADD),
            ("stride_at", STRIDE_AT),
        ):
            if getattr(self, attribute) not in known:
                raise UserError(
                    f"{self.name}: unknown {attribute} {getattr(self, attribute)!r}", hint=f"Known: {', '.join(known)}."
                )
        self._check_stages()
        for attribute in ("groups", "classes", "in_channels", "input_size"):
            _demand(self.name, attribute, getattr(self, attribute), 1)
        for attribute in ("window", "hidden"):
            _demand(self.name, attribute, getattr(self, attribute), 0)
        for attribute, least in (("width", 1), ("kernel", 1), ("stride", 1), ("padding", 0)):
            _demand(self.name, f"stem {attribute}", getattr(self.stem, attribute), least)
        self._check_map()

    def _check_stages(self) -> None:
        per_stage = ("depths", "widths", "outputs", "strides")
        if not self.depths or len({len(getattr(self, attribute)) for attribute in per_stage}) > 1:
            told = ", ".join(f"{attribute} {getattr(self, attribute)}" for attribute in per_stage)
            raise UserError(f"{self.name}: each stage needs one depth, width, output and stride, not {told}")
        for attribute in per_stage:
            for value in getattr(self, attribute):
                _demand(self.name, attribute, value, 1)
        if self.groups > 1 and BLOCKS[self.block] < 3:
            raise UserError(f"{self.name}: {self.groups} groups need bottleneck blocks, not {self.block!r}")
        if uneven := [width for width in self.widths if width % self.groups]:
            raise UserError(f"{self.name}: {self.groups} groups do not divide width {uneven[0]}")
        if self.preact and self.residual != "plain":
            raise UserError(f"{self.name}: {self.residual!r} orders a block's layers otherwise than {self.block!r} does")
        if (self.preact or self.residual != "plain") and self.after_add != "none":
            kind = self.block if self.preact else self.residual
            raise UserError(f"{self.name}: a {kind!r} block has no ReLU after the add; after_add must be 'none'")
        narrower = [o for i, o in zip(self.entries, self.outputs, strict=True) if o < i]
        if self.shortcut in PADDED and narrower:
            problem = f"{self.name}: a {self.shortcut!r} shortcut cannot narrow to {narrower[0]} channels"
            raise UserError(problem, hint="Use 'projection'.")
        if self.shortcut in PADDED and self.residual in MULTIPLIED and self.entries != self.outputs:
            shortcut = f"a {self.shortcut!r} shortcut"
            problem = f"{self.name}: {self.residual!r} multiplies by the zero channels of {shortcut}, which stay silent"
            raise UserError(problem, hint="Use 'projection'.")

    def _check_map(self) -> None:
        size = self.map_size
        if size < 1:
            raise UserError(f"{self.name}: {self.input_size}x{self.input_size} images are too small for its strides")
        if self.window > size:
            raise UserError(f"{self.name}: its last map is {size}x{size}, too small for a {self.window}x{self.window} window")

    @property
    def preact(self) -> bool:
        return self.block.startswith("preact")

    @property
    def entries(self) -> tuple[int, ...]:
        """Channels each stage takes."""
        return (self.stem.width, *self.outputs[:-1])

    @property
    def input_shape(self) -> Shape:
        """(C, H, W)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def map_size(self) -> int:
        """Height and width of the last stage's maps; below 1 when the images are too small."""
        size = (self.input_size + 2 * self.stem.padding - self.stem.kernel) // self.stem.stride + 1
        if self.stem.pool:
            size = (size - 1) // 2 + 1
        for stride in self.strides:
            size = (size - 1) // stride + 1
        return size

    @property
    def features(self) -> int:
        """Features the head's first linear layer takes."""
        return self.outputs[-1] * ((self.map_size // self.window) ** 2 if self.window else 1)

    def projects(self, stage: int, block: int) -> bool:
        """Whether that block's shortcut is more than the identity."""
        changes = self.strides[stage] > 1 or self.entries[stage] != self.outputs[stage]
        return block == 0 and (changes or (stage == 0 and self.projected_entry))


def _demand(name: str, what: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name}: {what} must be an integer of at least {least}, not {value!r}")
