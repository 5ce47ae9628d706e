from __future__ import annotations

from pathlib import Path

from idsnn_convert.report.chart import Level
from idsnn_convert.report.probed import write_probed
from idsnn_convert.report.run_page import CURVES, run_page
from idsnn_convert.report.runs import read_runs
from tests.idsnn_convert.report.test_html import Reader
from tests.idsnn_convert.report.test_probed import made
from tests.idsnn_convert.report.test_runs import row, run

RATES = {"test_firing_rates": {"stem.lif": 0.25, "stage1.lif": 0.5}}


def test_one_run_tells_everything() -> None:
    folder = run(Path("a"), row(1, 40, **RATES), row(2, 61.25, **RATES), recipe="[run]\nepochs = 9\nseed = 3\n")
    write_probed(folder, made())
    read = Reader(run_page(read_runs([folder]), Level("baseline", 55.5)))
    for told in (
        "61.25 %epoch 2 of 9",
        "92.50 %student -31.25",
        "37.5 %mean of 2 layers",
        "2 \u00b5J0.50 of the same without spikes",
        "teacher 92.5",
        "baseline 55.5",
        "Accuracy by time steps, epoch 2, %",
        "Test image 7 of cifar10, dog, as best.safetensors of epoch 2 sees it.",
        "Answer: cat, 90.0 %, wrong",
        "Firing rates",
        "Energy",
        "Mistakes",
        "seed 3",
        "All 2 settings",
    ):
        assert told in read.text
    assert read.tags.count("img") == 1
    assert "script" not in read.tags
    assert "Caution" not in read.text


def test_a_run_that_went_on_since_it_was_measured_says_so() -> None:
    folder = run(Path("a"), row(1, 40), row(2, 50), row(3, 60))
    write_probed(folder, made())
    assert "measured after epoch 2; the best epoch now is 3" in Reader(run_page(read_runs([folder]))).text


def test_a_run_that_is_not_measured_says_how_to() -> None:
    """A teacher's run has no time steps and no neurons."""
    read = Reader(run_page(read_runs([run(Path("a"), row(1, test_top1_percent_per_step=[]))])))
    assert read.tags.count("figure") == 3  # accuracy, loss, learning rate
    assert "idsnn report a --data SET:DIR" in read.text
    assert "Firing rates" not in read.text
    assert "differ" not in read.text


def test_runs_side_by_side() -> None:
    first = run(Path("distilled"), row(1, 40, **RATES), row(2, 61.25), recipe="[run]\nepochs = 2\n[loss]\nalpha = 0.3\n")
    second = run(Path("plain"), row(1, 30, **RATES), row(2, 45), recipe="[run]\nepochs = 2\n[loss]\nalpha = 0.0\n")
    write_probed(first, made())
    read = Reader(run_page(read_runs([first, second])))
    for told in ("Training: distilled, plain", "61.25", "2 of 2", "They differ in 1 of 2 settings:", "loss.alpha", "92.50"):
        assert told in read.text
    assert read.tags.count("figure") == len(CURVES) + 1
    assert "script" not in read.tags


def test_two_teachers_are_no_line() -> None:
    folders = [run(Path(name), row(1)) for name in ("a", "b")]
    for folder, percent in zip(folders, (90.0, 91.0), strict=True):
        teacher = {"file": "t", "sha256": "", "top1_percent": percent, "images": 9}
        write_probed(folder, made(teacher=teacher))
    assert "teacher 9" not in Reader(run_page(read_runs(folders))).text


def test_equal_recipes_say_so() -> None:
    assert "They differ in nothing." in run_page(read_runs([run(Path(name), row(1)) for name in ("a", "b")]))


def test_hostile_names_are_text() -> None:
    bad = "<img src=x>"
    folder = run(Path(bad), row(1, test_firing_rates={bad: 0.5}), recipe='[run]\nnote = "<script>1</script>"\n')
    write_probed(folder, made(data=bad, class_names=[bad, bad], checkpoint=bad, normalisation=bad))
    read = Reader(run_page(read_runs([folder])))
    assert read.tags.count("img") == 1  # the test image
    assert "script" not in read.tags
    assert "<script>1</script>" in read.text
