from __future__ import annotations

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from idsnn_convert.study.lasnn import plots
from idsnn_convert.study.lasnn.plan import ARMS
from idsnn_convert.study.lasnn.plots import LOOKS, draw
from idsnn_convert.study.plots import can_plot
from tests.idsnn_convert.study.lasnn.made import result

NEEDS = pytest.mark.skipif(not can_plot(), reason="matplotlib is not installed")


@NEEDS
def test_curves_and_spikes_are_drawn_as_svg_and_png(tmp_path: Path) -> None:
    svg, png = draw(result(), tmp_path)
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    told = {"".join(each.itertext()).strip() for each in ElementTree.parse(svg).iter() if each.tag.endswith("}text")}
    lasnn = ARMS["lasnn"].label
    assert {f"{lasnn}, densenet121", f"{lasnn}, vgg16", "ANN, on 2,000 images", "neuron layer"} <= told
    assert "spiking vgg5, T = 8, cifar10: mean and deviation over 3 seeds" in told


@NEEDS
def test_one_seed_and_one_teacher_can_be_drawn(tmp_path: Path) -> None:
    assert all(path.stat().st_size for path in draw(result(seeds=1, teachers=("resnet20",)), tmp_path))


def test_arms_can_be_told_apart_without_colour() -> None:
    assert LOOKS.keys() == ARMS.keys()
    assert len({marker for *_, marker in LOOKS.values()}) == len({colour for colour, *_ in LOOKS.values()}) == len(LOOKS)


def test_matplotlib_is_imported_only_to_draw() -> None:
    tops = [node for node in ast.parse(Path(plots.__file__).read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("matplotlib" in ast.unparse(node) for node in tops)
