from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from idsnn_convert.passes.load import trial
from idsnn_convert.passes.load.trial import tried
from idsnn_convert.runtime.errors import UserError


def test_what_a_trial_does_does_not_stay(tmp_path: Path) -> None:
    seen = [1]
    tried(lambda: seen.append(2), within=0)
    assert seen == [1]


def test_an_error_is_left_to_who_does_it_again(capfd: pytest.CaptureFixture[str]) -> None:
    tried(lambda: print([][0]), within=0)
    assert capfd.readouterr() == ("", "")


def wait() -> None:
    signal.pause()


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (lambda: ctypes.string_at(0), "crashes its reader"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "ends its reader by signal 15"),
        (lambda: bytearray(8 << 30), "takes its reader more than 419,430,500 bytes of memory"),
        (lambda: torch.empty(8 << 30), "takes its reader more than 419,430,500 bytes of memory"),
        (lambda: os.kill(os.getpid(), signal.SIGXCPU), "takes its reader longer than 4 s"),
        (wait, "takes its reader longer than 4 s"),
    ],
    ids=["crash", "another signal", "memory", "memory of tensors", "processor time", "waiting"],
)
def test_what_ends_a_trial_is_told(work: Callable[[], object], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "PATIENCE", 0.3)
    with pytest.raises(UserError, match=told):
        tried(work, within=100)
