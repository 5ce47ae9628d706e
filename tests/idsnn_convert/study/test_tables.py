from __future__ import annotations

from idsnn_convert.study.tables import markdown, spread
from tests.idsnn_convert.study.made import result


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose heading begins with ``first``, line by line."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first}"))
    table = lines[start + 2 :]
    end = next((number for number, line in enumerate(table) if not line.startswith("|")), len(table))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[:end]]


def test_the_ablation_stands_beside_the_papers() -> None:
    text = markdown(result("ablation"), ["ablation.svg"])
    assert rows(text, "initialisation") == [
        ["no", "no", "29.50 ± 1.00", "-", "71.31", "-"],
        ["yes", "no", "49.50 ± 1.00", "+20.00 ± 0.00", "74.47", "+3.16"],
        ["no", "yes", "37.50 ± 1.00", "+8.00 ± 0.00", "73.71", "+2.40"],
        ["yes", "yes", "53.50 ± 1.00", "+24.00 ± 0.00", "75.41", "+4.10"],
    ]
    assert "![Curves of the ablation study](ablation.svg)" in text


def test_what_was_run_on_what_is_said() -> None:
    text = markdown(result("ablation"))
    for fact in (
        "# Ablation: resnet8 -> spiking resnet8 on cifar100",
        "`resnet8.pth`, 64.11 % of all test images",
        "T = 4",
        "100 training images",
        "recipe `idsnn-fast`",
        "20 test images, always the same",
        "the last network on all 1,000",
        "seeds 0, 1, 2: mean ± deviation",
        "12 runs, 6 minutes",
        "torch 2.13.0",
    ):
        assert fact in text
    assert "![" not in text


def test_each_claim_of_the_paper_has_its_verdict() -> None:
    claims = rows(markdown(result("ablation")), "claim")
    assert claims[0] == ["initialisation is better than neither", "+20.00 ± 0.00", "3 of 3", "holds"]
    assert rows(markdown(result("convergence")), "claim")[-1] == [
        "both (IDSNN) loses less than neither, long -> short",
        "-14.00 ± 0.00",
        "0 of 3",
        "fails",
    ]


def test_convergence_tells_best_epochs_and_who_is_sooner() -> None:
    text = markdown(result("convergence"))
    table = rows(text, "schedule")
    assert table[0] == ["long (4 epochs)", "neither", "31.00 ± 1.00 (3)", "29.00 ± 1.00", "71.31 (192)"]
    assert table[-1] == ["short (1 epoch)", "both (IDSNN)", "27.00 ± 1.00 (1)", "27.00 ± 1.00", "73.02 (57)"]
    soon = rows(text, "best of neither")
    assert ["31.00 in epoch 3, long (4 epochs)", "both (IDSNN), long (4 epochs)", "1 epoch", "2 epochs, 3 times"] in soon
    assert ["31.00 in epoch 3, long (4 epochs)", "both (IDSNN), short (1 epoch)", "not reached", "-"] in soon
    assert ["17.00 in epoch 1, short (1 epoch)", "both (IDSNN), short (1 epoch)", "1 epoch", "the same epoch"] in soon
    assert "IDSNN reaches the best of neither, 31.00 in epoch 3, after 1 epoch of the long schedule: 2 epochs sooner" in text
    assert "71.31 in epoch 192" in text


def test_one_seed_has_no_deviation_and_other_data_no_paper() -> None:
    text = markdown(result("ablation", seeds=1, data="fashion-mnist"))
    assert "- seed 0; top-1 in percent" in text
    assert rows(text, "initialisation")[3] == ["yes", "yes", "52.50", "+24.00", "-", "-"]


def test_without_claims_there_is_no_section_of_them() -> None:
    assert "What the paper says" not in markdown({**result("ablation"), "claims": []})
    assert "reaches the best" not in markdown({**result("convergence"), "soonest": None})


def test_a_mean_with_its_deviation() -> None:
    assert spread({"mean": 1.234, "deviation": 0.5}, "+") == "+1.23 ± 0.50"
    assert spread({"mean": -1.234, "deviation": None}) == "-1.23"
    assert spread(None) == "-"
