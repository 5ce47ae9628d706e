from __future__ import annotations

import pytest

from idsnn_convert.study.plan import SCALES, planned
from idsnn_convert.study.progress import StudyBar
from tests.idsnn_convert.study.made import outcomes

JOBS = planned("ablation", SCALES["small"], recipe="idsnn-fast", seeds=1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_a_run_with_the_time_left_of_the_whole_study(capsys: pytest.CaptureFixture[str]) -> None:
    clock, found = Clock(), outcomes("ablation", seeds=1)
    with StudyBar(clock) as bar:
        bar.begin([4, 4, 4, 4], [4, 1, 0, 0])
        bar.finished(found[0])
        bar.run(JOBS[1])
        for epoch in (2, 3, 4):
            bar.batch(epoch, 4, 2, 2, 1.5)
            clock.now += 600
            bar.epoch({})
        bar.finished(found[1])
        for run in (2, 3):
            bar.run(JOBS[run])
            for _ in range(4):
                clock.now += 600
                bar.epoch({})
            bar.finished(found[run])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "4 runs of 16 epochs in all, 5 of them done",
        "run 1/4 neither-long-0  20.0 24.0 30.0 28.0 %  kept",
        "run 2/4 init-long-0  40.0 44.0 46.0 48.0 %  30 min gone, 1 h 20 min left",
        "run 3/4 kd-long-0  16.0 30.0 32.0 36.0 %  1 h 10 min gone, 40 min left",
        "run 4/4 both-long-0  38.0 48.0 50.0 52.0 %  done",
    ]
