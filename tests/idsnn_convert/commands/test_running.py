from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from idsnn_convert.commands.running import run
from idsnn_convert.learn import Training
from idsnn_convert.report.progress import TrainingBar
from idsnn_convert.runtime.stop import Interrupted


def test_an_interrupted_run_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(bar: TrainingBar, tell: Callable[[str], None]) -> Training:
        tell("begun")
        raise Interrupted(15)

    with pytest.raises(click.exceptions.Exit) as caught:
        run(stopped, as_json=False)
    assert caught.value.exit_code == 128 + 15
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("begun\n")
    assert "--resume goes on from here" in told.err
