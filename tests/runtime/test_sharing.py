"""How a run's work is cut: by whom each image is taken, and what is too little for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.runtime.distributed import ALONE, World
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.sharing import check_shares, pooled
from tests.runtime import together, toy


def test_every_process_needs_an_image_of_every_batch(pair: Path) -> None:
    check_shares(World(0, 4), 32, 100, 80)  # the last batch has 4
    with pytest.raises(UserError, match=r"the smallest batch has 4 images: too few for 5 processes\nUse fewer"):
        check_shares(World(0, 5), 32, 100, 80)
    with pytest.raises(UserError, match=r"run\.batch_size is 4: too few for 5 processes"):
        check_shares(World(0, 5), 4, 100, 80)
    for rank in range(2):
        assert (pair / f"refused{rank}").read_text() == "the smallest batch has 1 images: too few for 2 processes"
    assert not (pair / "refused").exists()


def test_alone_an_evaluation_is_as_it_was() -> None:
    own = Evaluation(50.0, 1.0, 10, 2.0, (40.0, 50.0))
    assert pooled(own, ALONE) is own


def test_two_processes_evaluate_all_images(pair: Path, tmp_path: Path) -> None:
    toy.run(tmp_path / "one", together.SETTINGS)
    for one, two in zip(toy.metrics(tmp_path / "one"), toy.metrics(pair / "two"), strict=True):
        assert two["test_loss"] == pytest.approx(one["test_loss"], rel=1e-3)
        assert (80 * two["test_top1_percent"] / 100) % 1 == pytest.approx(0, abs=1e-9)
        assert len(two["test_top1_percent_per_step"]) == toy.STEPS
        assert two["test_firing_rates"] == pytest.approx(one["test_firing_rates"], abs=0.02)
