from __future__ import annotations

from idsnn_convert.report.heat import heat


def test_shades_go_from_nothing_to_the_greatest() -> None:
    made = heat("label", ["a", "b"], [("x", [0, 1]), ("<y>", [9.5, None])], lambda value: f"{value:g}")
    assert '<td>0</td><td class="heat1">1</td>' in made
    assert '<td class="heat9">9.5</td><td></td>' in made
    assert "&lt;y&gt;" in made


def test_the_top_can_be_given() -> None:
    assert 'class="heat5"' in heat("", ["a"], [("x", [0.5])], str, top=1.0)
    assert 'class="heat9"' in heat("", ["a"], [("x", [5.0])], str, top=1.0)
    assert "heat1" not in heat("", ["a"], [("x", [0.0])], str)
