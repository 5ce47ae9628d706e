from __future__ import annotations

from xml.etree import ElementTree

import pytest

from idsnn_convert.report.chart import HEIGHT, Line, chart, legend, look, ticks


def drawn(*lines: Line) -> ElementTree.Element:
    return ElementTree.fromstring(chart("Loss & more", lines, "epoch"))


def test_points_lie_where_their_values_say() -> None:
    figure = drawn(Line("a", [(1, 0.0), (2, 50.0), (3, 100.0)]), Line("<b>", [(1, 100.0), (3, 100.0)]))
    across, down = ([float(str(dot.get(key)).rstrip("%")) for dot in figure.iter("circle")] for key in ("cx", "cy"))
    assert across[:3] == sorted(across[:3])
    assert across[1] - across[0] == pytest.approx(across[2] - across[1])
    assert down[0] > down[1] > down[2] == down[3] == down[4]
    assert all(0 < y < HEIGHT for y in down)
    assert [path.get("class") for path in figure.iter("path")] == [look(0), look(1)]
    assert next(figure.iter("title")).text == "a, 1: 0"
    assert figure.findtext("figcaption") == "Loss & more"
    assert "<b> from 100 to 100" in str(next(figure.iter("svg")).get("aria-label"))


def test_powers_of_ten_are_told_as_what_they_stand_for() -> None:
    made = ElementTree.fromstring(chart("Top-1", [Line("a", [(0, 10.0), (1, 50.0), (2, 60.0)])], "T", powers=True))
    assert [title.text for title in made.iter("title")] == ["a, 1: 10", "a, 10: 50", "a, 100: 60"]
    assert {"1", "10", "100"} <= {text.text for text in made.iter("text")}


def test_one_point_and_equal_values_can_be_drawn() -> None:
    assert len(list(drawn(Line("a", [(1, 0.0)])).iter("circle"))) == 1
    assert len(list(drawn(Line("a", [(1, 0.1), (2, 0.1)])).iter("circle"))) == 2


@pytest.mark.parametrize(
    ("low", "high"), [(0, 100), (3.2, 97.1), (0, 0), (5, 5), (0.0001, 0.1), (-3, 8), (91.2, 91.9), (1, 200), (1e-9, 2e-9)]
)
def test_ticks_are_few_round_and_around_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 9
    assert found[0] <= low
    assert high <= found[-1]
    assert all(len(f"{value:g}") <= 7 for value in found)


def test_the_legend_names_every_line() -> None:
    made = ElementTree.fromstring(legend(["a", "<b>"]))
    assert "".join(made.itertext()).split() == ["a", "<b>"]
    assert [line.get("class") for line in made.iter("line")] == [look(0), look(1)]
    assert look(0) == look(6) != look(5)
