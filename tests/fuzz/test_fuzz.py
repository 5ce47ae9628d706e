"""The harness sees what it is to see; and a short campaign over the kinds of input that are quick to read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz import worker
from tests.fuzz.__main__ import seeds
from tests.fuzz.campaign import FINE, SLACK, Worker, campaign, judged, mutated, samples, usable
from tests.fuzz.samples import KINDS

ROOT = Path(__file__).parents[2]
QUICK = ["state dict", "legacy state dict", "safetensors", "checkpoint", "recipe", "target", "archive of data"]
ROUNDS = 15


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return samples(QUICK, tmp_path_factory.mktemp("samples"))


def test_a_short_campaign_finds_nothing(made: dict[str, Path], tmp_path: Path) -> None:
    tallies, findings = campaign(made, tmp_path / "work", seeds(QUICK, 0, None, ROUNDS * len(QUICK)))
    assert findings == []
    assert {kind: tally.outcomes.total() for kind, tally in tallies.items()} == dict.fromkeys(QUICK, ROUNDS)
    assert all(sum(tally.outcomes[outcome] for tally in tallies.values()) >= ROUNDS for outcome in FINE)


def test_an_input_is_made_again_by_its_seed(made: dict[str, Path], tmp_path: Path) -> None:
    found: set[tuple[tuple[str, ...], bytes]] = set()
    for seed in (1, 1, 2):
        words, size = mutated(KINDS["safetensors"], made["safetensors"], seed, tmp_path / str(len(found)))
        content = (tmp_path / str(len(found)) / "teacher").read_bytes()
        assert len(content) == size
        found.add((words, content))
    assert len(found) == 2


def test_every_mutator_changes_what_it_is_given(tmp_path: Path) -> None:
    for name in usable([*QUICK, "ONNX", "command line"]):
        kind = KINDS[name]
        folder = samples([name], tmp_path / name.replace(" ", "_"))[name]
        for file, mutator in kind.mutated.items():
            sound = (folder / file).read_bytes()
            assert sum(mutator(Random(seed), sound) != sound for seed in range(10)) > 5, name


def answered(**more: Any) -> dict[str, Any]:
    return {"code": 2, "failure": "", "stdout": "", "stderr": "Error: x\n", "seen": [], "memory": 0, **more}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (answered(), "refused"),
        (answered(code=0), "read"),
        (answered(code=1, failure="Traceback"), "crashed"),
        (answered(code=3), "crashed"),
        (answered(stderr=""), "crashed"),
        (answered(stderr="Error: \x1b[31m"), "terminal"),
        (answered(stdout="\u202e"), "terminal"),
        (answered(seen=["os.system"]), "ran"),
        (answered(memory=SLACK + 21), "memory"),
        (answered(memory=SLACK + 20), "refused"),
    ],
)
def test_what_is_not_as_it_must_be_is_found(answer: dict[str, Any], outcome: str) -> None:
    assert judged(answer, 10, alive=True)[0] == outcome
    assert (outcome in FINE) == (outcome in ("read", "refused"))


def test_a_process_that_gives_no_answer_died_or_hangs() -> None:
    assert [judged(None, 0, alive)[0] for alive in (True, False)] == ["hung", "died"]


@pytest.fixture(scope="module")
def watch() -> worker.Watch:
    return worker.Watch()


def _command(path: Path) -> None:
    os.system("true")


def _write(path: Path) -> None:
    (path.parent / "elsewhere").write_text("x")


def _connect(path: Path) -> None:
    with socket.socket() as made:
        made.connect_ex(("127.0.0.1", 9))


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        (_command, "os.system"),
        (_write, "open"),
        (_connect, "socket.connect"),
        (lambda path: (path / "x").write_text("x"), ""),
        (lambda path: Path(os.devnull).write_text("x"), ""),
        (lambda path: (path.parent / "read").exists(), ""),
    ],
)
def test_the_watch_sees_what_an_input_may_not_cause(
    act: Any, seen: str, watch: worker.Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "input").mkdir()
    monkeypatch.setitem(worker.CALLS, "act", lambda: act(tmp_path / "input"))
    answer = worker.one(watch, str(tmp_path / "input"), ["call", "act"])
    assert [event.partition("(")[0] for event in answer["seen"]] == ([seen] if seen else [])
    assert answer["code"] == 0


def test_memory_is_measured(tmp_path: Path) -> None:
    """In a process of its own: this one may hold freed memory enough to need no more."""
    lines = (
        "from tests.fuzz import worker",
        'worker.CALLS["act"] = lambda: bytearray(b"x") * (100 << 20)',
        f"print(worker.one(worker.Watch(), {str(tmp_path)!r}, ['call', 'act'])['memory'])",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 90 << 20


def test_a_worker_that_hangs_is_ended(made: dict[str, Path], tmp_path: Path) -> None:
    found = Worker(made, tmp_path / "log")
    assert found.ask(made["recipe"], KINDS["recipe"].command, patience=0.0)[0] is None
    found.stop()
    assert found.process.returncode is not None
