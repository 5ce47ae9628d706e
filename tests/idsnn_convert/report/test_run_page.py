from __future__ import annotations

from pathlib import Path

from idsnn_convert.report.run_page import CURVES, run_page
from idsnn_convert.report.runs import read_runs
from tests.idsnn_convert.report.test_html import Reader
from tests.idsnn_convert.report.test_runs import row, run


def test_runs_side_by_side() -> None:
    first = run(Path("distilled"), row(1, 40), row(2, 61.25), recipe="[run]\nepochs = 2\n[loss]\nalpha = 0.3\n")
    second = run(Path("plain"), row(1, 30), row(2, 45), recipe="[run]\nepochs = 2\n[loss]\nalpha = 0.0\n")
    read = Reader(run_page(read_runs([first, second])))
    for told in ("Training: distilled, plain", "61.25", "2 of 2", "They differ in 1 of 2 settings:", "loss.alpha", "2.0"):
        assert told in read.text
    assert read.tags.count("figure") == len(CURVES) + 1
    assert "script" not in read.tags


def test_one_run_and_no_time_steps() -> None:
    """A teacher's run has no time steps."""
    read = Reader(run_page(read_runs([run(Path("a"), row(1, test_top1_percent_per_step=[]))])))
    assert read.tags.count("figure") == len(CURVES)
    assert "differ" not in read.text
    assert "All 1 settings" in read.text


def test_equal_recipes_say_so() -> None:
    assert "They differ in nothing." in run_page(read_runs([run(Path(name), row(1)) for name in ("a", "b")]))


def test_hostile_names_are_text() -> None:
    folder = run(Path("<img src=x>"), row(1), recipe='[run]\nnote = "<script>1</script>"\n')
    read = Reader(run_page(read_runs([folder])))
    assert "img" not in read.tags
    assert "script" not in read.tags
    assert "<script>1</script>" in read.text
