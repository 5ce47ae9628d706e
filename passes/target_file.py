"""A target network described in a TOML file: for ``--target FILE.toml``::

    name = "resnet10"            # optional; the file's name otherwise
    block = "basic"              # or bottleneck, preact-basic, preact-bottleneck
    depths = [1, 1, 1, 1]        # blocks in each stage
    widths = [64, 128, 256, 512] # channels inside the blocks of each stage
    outputs = [64, 128, 256, 512]# channels each stage gives: as widths, or 4 times as many for bottlenecks
    strides = [1, 2, 2, 2]       # of each stage's first block: 1, then 2
    shortcut = "projection"      # or conv, pad
    residual = "plain"           # or sew-add, sew-and, sew-iand, ms

    [stem]                       # optional, and so is each line of it
    width = 64                   # as the first of widths
    kernel = 3
    stride = 1
    padding = 1                  # half the kernel
    pool = false

Only depths and widths are needed. The rest of the keys are the attributes of
:class:`idsnn_convert.passes.resnet.spec.ResNetSpec`. Classes and image size are the teacher's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from idsnn_convert.passes.resnet.spec import BLOCKS, ResNetSpec, Stem
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape
from idsnn_convert.runtime.toml_file import read_toml

OF_THE_TEACHER = ("classes", "in_channels", "input_size")
MOST_BLOCKS = 700
"""Most blocks of all stages; ResNet-1202 has 600, a longer network is a slip of the keyboard."""

MOST_STAGES = 16

LARGEST = 1 << 16
"""Above every number in the file but that of classes: channels, a kernel's side."""

MOST_WEIGHTS = 1 << 28
"""Weights that a network described in a few lines may have: a gigabyte, four times a Wide ResNet-101-2's."""

WORDS: dict[Any, str] = {str: "text in quotes", int: "a whole number", bool: "true or false"}


def read_target(path: Path, *, input_shape: Shape, classes: int) -> ResNetSpec:
    """The network a file describes, for images of ``input_shape`` (C, H, W) and so many classes.

    Raises:
        UserError: if the file cannot be read, has a key that is unknown or a value of the wrong kind, or describes a network
            that cannot be; naming the file, the key and the way out.
    """
    content = read_toml(path)
    try:
        return _spec(content, path.stem, input_shape, classes)
    except UserError as error:
        raise UserError(f"{path}: {error.problem}", hint=error.hint) from error


def _spec(content: dict[str, Any], name: str, input_shape: Shape, classes: int) -> ResNetSpec:
    stem = content.pop("stem", {})
    if not isinstance(stem, dict):
        raise UserError(f"stem is {stem!r}, not a table", hint="Write: [stem] on a line of its own, its keys below.")
    described = _values(content, ResNetSpec, hidden=("stem", *OF_THE_TEACHER))
    for key in ("depths", "widths"):
        if key not in described:
            raise UserError(f"{key} is missing", hint=f"Write one number a stage: {key} = [...].")
    depths, widths, block = described["depths"], described["widths"], described.get("block", "basic")
    if len(depths) > MOST_STAGES:
        raise UserError(f"{len(depths):,} stages are too many; at most {MOST_STAGES} are built")
    if sum(depths) > MOST_BLOCKS:
        raise UserError(f"{sum(depths):,} blocks are too many; at most {MOST_BLOCKS:,} are built")
    entry = _values(stem, Stem, where="stem.")
    entry = {"width": widths[0] if widths else 0, "padding": entry.get("kernel", 3) // 2, **entry}
    within = described.get("residual", "plain") != "plain" or block.startswith("preact")
    defaults: dict[str, Any] = {
        "name": name,
        "outputs": tuple(width * (4 if BLOCKS.get(block) == 3 else 1) for width in widths),
        "strides": (1,) + (2,) * (len(depths) - 1),
        "after_add": "none" if within else "block",
    }
    images = {"classes": classes, "in_channels": input_shape[0], "input_size": input_shape[1]}
    spec = ResNetSpec(**{**defaults, **described, **images, "stem": Stem(**entry)})
    if (weights := _weights(spec)) > MOST_WEIGHTS:
        raise UserError(f"it describes a network of some {weights:,} weights; at most {MOST_WEIGHTS:,} are made")
    return spec


def _weights(spec: ResNetSpec) -> int:
    """About how many weights its convolutions have, before any is made."""
    stages = zip(spec.depths, spec.widths, spec.outputs, strict=True)
    return spec.stem.kernel**2 * spec.in_channels * spec.stem.width + sum(
        depth * (9 * width * width + 2 * width * output) // spec.groups for depth, width, output in stages
    )


def _values(content: Mapping[str, Any], kind: type, hidden: tuple[str, ...] = (), where: str = "") -> dict[str, Any]:
    """The keys of ``content``, each held against the attribute of ``kind`` it sets; lists become tuples."""
    hints = get_type_hints(kind)
    known = [key for key in hints if key not in hidden]
    found = {}
    for key, value in content.items():
        if key in OF_THE_TEACHER:
            raise UserError(f"{key} is not the file's to say: it is the teacher's", hint="Leave it out.")
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            meant = f"Did you mean {where}{close[0]}? " if close else ""
            raise UserError(f"unknown key {where + key!r}", hint=f"{meant}Known: {', '.join(known)}.")
        if hints[key] in WORDS:
            if type(value) is not hints[key]:
                raise UserError(f"{where}{key} must be {WORDS[hints[key]]}, not {value!r:.60}")
            if type(value) is int and abs(value) >= LARGEST:
                raise UserError(f"{where}{key} = {value!s:.20} is out of all proportion")
            found[key] = value
        elif isinstance(value, list) and all(type(item) is int for item in value):
            if any(abs(item) >= LARGEST for item in value):
                raise UserError(f"{where}{key} has a number that is out of all proportion: {max(map(abs, value))!s:.20}")
            found[key] = tuple(value)
        else:
            raise UserError(f"{where}{key} must be a list of whole numbers, not {value!r:.60}")
    return found
