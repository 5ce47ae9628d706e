"""A run whose folder is taken, goes away, or may not be written to: it is told, and goes on afterwards to the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from idsnn_convert.runtime.errors import UserError
from tests.faults.scenes import listed
from tests.runtime import toy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    toy.run(folder)
    return folder


FIRST = """
import sys
from pathlib import Path
from tests.runtime import toy
def others_turn():
    print("begun", flush=True)
    sys.stdin.readline()
toy.torch.set_num_threads(1)
toy.run(Path(sys.argv[1]), watcher=toy.At(2, 2, others_turn))
"""


def test_a_second_process_is_told_and_the_first_loses_nothing(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    command, environment = [sys.executable, "-c", FIRST, str(run)], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "begun\n"
        before = {path.name: path.read_bytes() for path in run.iterdir()}
        for resume in (False, True):
            with pytest.raises(UserError, match=f"^process {first.pid} on .* is training in {run}\n"):
                toy.run(run, resume=resume)
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before
        first.communicate("go on\n")
    assert first.returncode == 0
    toy.assert_same_run(run, undisturbed)
    assert listed(run) == listed(undisturbed)


def test_a_folder_that_goes_away_is_told_and_the_run_goes_on_when_it_is_back(tmp_path: Path, undisturbed: Path) -> None:
    run, away = tmp_path / "run", tmp_path / "away"
    with pytest.raises(UserError, match=r"cannot write .*run.*: No such file or directory"):
        toy.run(run, watcher=toy.At(2, 1, lambda: run.rename(away)))
    assert not run.exists()
    away.rename(run)
    toy.run(run, resume=True)
    toy.assert_same_run(run, undisturbed)


@pytest.fixture
def mount(tmp_path: Path) -> Callable[[str], None]:
    """Mounts a small file system at ``disk`` with these options, again with others."""

    def mounted(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(tmp_path / "disk")]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this user may not mount a file system")

    (tmp_path / "disk").mkdir()
    return mounted


def test_a_run_on_a_file_system_that_became_read_only_is_told(
    tmp_path: Path, undisturbed: Path, mount: Callable[[str], None]
) -> None:
    mount("size=8m")
    run = tmp_path / "disk" / "run"
    try:
        with pytest.raises(toy.Killed):
            toy.run(run, watcher=toy.At(2, 1, toy.killed))
        mount("remount,ro")
        with pytest.raises(UserError, match=r"cannot write to the run folder .*: Read-only file system"):
            toy.run(run, resume=True)
        mount("remount,rw")
        toy.run(run, resume=True)
        toy.assert_same_run(run, undisturbed)
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_no_longer_be_written_to_is_told(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"cannot write .*: Permission denied"):
        toy.run(run, watcher=toy.At(2, 1, lambda: run.chmod(0o555)))
    run.chmod(0o755)
    toy.run(run, resume=True)
    toy.assert_same_run(run, undisturbed)
