from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.runtime.errors import UserError

RESNET18 = ResNetSpec("resnet18", (2, 2, 2, 2), (64, 128, 256, 512), (64, 128, 256, 512), (1, 2, 2, 2), Stem(64), classes=10)
RESNET50 = replace(
    RESNET18,
    block="bottleneck",
    depths=(3, 4, 6, 3),
    outputs=(256, 512, 1024, 2048),
    stem=Stem(64, 7, 2, 3, pool=True),
    input_size=224,
)


def test_map_and_features() -> None:
    assert (RESNET18.map_size, RESNET18.features) == (4, 512)
    assert (RESNET50.map_size, RESNET50.features) == (7, 2048)
    assert replace(RESNET18, window=2).features == 4 * 512


@pytest.mark.parametrize(("size", "expected"), [(28, 4), (33, 5), (1, 1)])
def test_map_size_rounds_up_at_each_stride(size: int, expected: int) -> None:
    assert replace(RESNET18, input_size=size).map_size == expected


def test_projections_stand_where_the_shape_changes() -> None:
    assert [RESNET18.projects(stage, 0) for stage in range(4)] == [False, True, True, True]
    assert RESNET50.projects(0, 0)
    assert not RESNET50.projects(1, 1)
    assert replace(RESNET18, projected_entry=True).projects(0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "dense"}, "unknown block 'dense'"),
        ({"shortcut": "none"}, "unknown shortcut"),
        ({"after_add": "always"}, "unknown after_add"),
        ({"stride_at": "2x2"}, "unknown stride_at"),
        ({"depths": (2, 2)}, "one depth, width, output and stride"),
        ({"depths": (), "widths": (), "outputs": (), "strides": ()}, "one depth, width, output and stride"),
        ({"depths": (2, 2, 2, 0)}, "depths must be an integer of at least 1, not 0"),
        ({"widths": (64, 128, 256, 51.5)}, "widths must be an integer"),
        ({"groups": 2}, "2 groups need bottleneck blocks"),
        ({"groups": 3, "block": "bottleneck"}, "3 groups do not divide width 64"),
        ({"block": "preact-basic"}, "no ReLU after the add"),
        ({"residual": "sew"}, "unknown residual 'sew'"),
        ({"residual": "ms"}, "a 'ms' block has no ReLU after the add"),
        ({"residual": "ms", "block": "preact-basic", "after_add": "none"}, "otherwise than 'preact-basic' does"),
        ({"residual": "sew-and", "after_add": "none", "shortcut": "pad"}, r"stay silent\nUse 'projection'"),
        ({"residual": "sew-iand", "after_add": "none", "shortcut": "pad"}, "zero channels"),
        ({"shortcut": "pad", "stem": Stem(128)}, "cannot narrow to 64"),
        ({"classes": 0}, "classes must be"),
        ({"window": -1}, "window must be"),
        ({"window": 5}, "too small for a 5x5 window"),
        ({"stem": Stem(0)}, "stem width must be"),
        ({"input_size": 2, "stem": Stem(64, 7, 2, 0)}, "2x2 images are too small"),
    ],
)
def test_a_wrong_description_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(RESNET18, **change)
