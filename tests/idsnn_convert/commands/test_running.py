from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from idsnn_convert.commands.running import run
from idsnn_convert.learn import Training
from idsnn_convert.runtime.distributed import PLACE
from idsnn_convert.runtime.stop import Interrupted
from idsnn_convert.runtime.trainer import Watcher


def test_an_interrupted_run_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(watcher: Watcher, tell: Callable[[str], None]) -> Training:
        tell("begun")
        raise Interrupted(15)

    with pytest.raises(click.exceptions.Exit) as caught:
        run(stopped, as_json=False)
    assert caught.value.exit_code == 128 + 15
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("begun\n")
    assert "--resume goes on from here" in told.err


def test_curves_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    record = dict.fromkeys(("train_loss", "train_top1_percent", "test_top1_percent", "lr"), 1.0)

    def trained(watcher: Watcher, tell: Callable[[str], None]) -> Training:
        watcher.epoch({**record, "epoch": 1, "train_seconds": 1.0, "test_seconds": 1.0, "train_images_per_second": 1.0})
        raise Interrupted(15)

    for board in (None, tmp_path / "tensorboard"):
        with pytest.raises(click.exceptions.Exit):
            run(trained, as_json=False, board=board)
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_one_of_several_processes_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(watcher: Watcher, tell: Callable[[str], None]) -> Training:
        tell("begun")
        raise Interrupted(15)

    for name in PLACE:
        monkeypatch.setenv(name, "1")
    with pytest.raises(click.exceptions.Exit):
        run(stopped, as_json=False)
    assert capsys.readouterr() == ("", "")
