from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from idsnn_convert.study import plots
from idsnn_convert.study.plan import ARMS
from idsnn_convert.study.plots import LOOKS, can_plot, draw
from tests.idsnn_convert.study.made import LABELS, result

NEEDS = pytest.mark.skipif(not can_plot(), reason="matplotlib is not installed")


def words(path: Path) -> list[str]:
    """The text in an SVG file, which must be well-formed."""
    return ["".join(element.itertext()).strip() for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")]


@NEEDS
def test_the_ablation_is_drawn_as_svg_and_png(tmp_path: Path) -> None:
    svg, png = draw(result("ablation"), tmp_path)
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    told = words(svg)
    assert {*LABELS, "test top-1 (%)", "training cross-entropy (nats)", "epochs"} <= set(told)
    assert "resnet8 to spiking resnet8, cifar100: mean and deviation over 3 seeds" in told


@NEEDS
def test_convergence_has_a_panel_for_each_schedule(tmp_path: Path) -> None:
    told = words(draw(result("convergence"), tmp_path)[0])
    assert {"long: 4 epochs", "medium: 2 epochs", "short: 1 epoch"} <= set(told)
    assert ARMS["init"].label not in told


@NEEDS
@pytest.mark.parametrize("study", ["ablation", "convergence"])
def test_one_seed_can_be_drawn(tmp_path: Path, study: str) -> None:
    assert all(path.stat().st_size for path in draw(result(study, seeds=1), tmp_path))


@NEEDS
def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
        draw(result("ablation"), folder)
    for name in ("ablation.svg", "ablation.png"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_arms_can_be_told_apart_without_colour() -> None:
    assert LOOKS.keys() == ARMS.keys()
    for column in zip(*LOOKS.values(), strict=True):
        assert len(set(column)) == len(LOOKS)
    greys = sorted(
        sum(weight * int(colour[at : at + 2], 16) for weight, at in ((0.30, 1), (0.59, 3), (0.11, 5)))
        for colour, *_ in LOOKS.values()
    )
    assert min(b - a for a, b in pairwise(greys)) > 15  # of 255


def test_matplotlib_is_imported_only_to_draw() -> None:
    tops = [node for node in ast.parse(Path(plots.__file__).read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert tops
    assert not any("matplotlib" in ast.unparse(node) for node in tops)
