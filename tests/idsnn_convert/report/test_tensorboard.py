from __future__ import annotations

import sys
from pathlib import Path

import pytest

from idsnn_convert.report.tensorboard import BY_NAME, Board
from idsnn_convert.runtime.errors import UserError
from tests.runtime import toy


def test_curves_of_every_number_an_epoch_gives(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log, folder = toy.Log(), tmp_path / "run" / "tensorboard"
    with Board(folder, log) as board:
        toy.run(tmp_path / "run", ["run.epochs=2", "run.ema_decay=0.9"], watcher=board)
    assert len(log.records) == 2
    assert len(log.batches) == 2 * toy.BATCHES
    found = accumulator.EventAccumulator(str(folder)).Reload()
    assert set(found.Tags()["scalars"]) == set(BY_NAME.values())
    for key, curve in BY_NAME.items():
        points = {event.step: event.value for event in found.Scalars(curve)}
        assert points == {record["epoch"]: pytest.approx(record[key], rel=1e-6) for record in log.records}


def test_without_the_package_it_is_told_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r'tensorboard, which is not installed\n.*pip install "idsnn-convert\[track\]"'):
        Board(tmp_path / "tensorboard", toy.Log())


def test_a_run_without_an_epoch_leaves_no_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Board(tmp_path / "tensorboard", toy.Log()):
        pass
    assert not (tmp_path / "tensorboard").exists()
