"""Feeds mutated inputs to worker processes and sorts what becomes of them.

An input's outcome is ``read`` (exit code 0, or 1 from the doctor), ``refused`` (2, with one message), or a finding: it
``crashed`` (another exception or exit code), ``died`` (with its process), ``hung``, ``ran`` code, took too much
``memory``, or sent control characters to the ``terminal``.
"""

from __future__ import annotations

import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.odd import bytes_changed
from tests.fuzz.samples import KINDS, Kind

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 10.0
"""Seconds of processor time that an input may take: on a busy machine the clock goes on without it."""
LONGEST = 60.0
"""Seconds by the clock."""
WARMING = 900.0
"""Seconds that the first input of a kind may take, a sound one: libraries are imported for it."""
SLACK = 512 << 20
"""Bytes that an input may take beyond twice its own."""
FINE = ("read", "refused")
CANARY = "ran-code"
"""The file that every payload makes if it runs."""


@dataclass(frozen=True)
class Finding:
    """An input that was not taken as it must be: made again by its kind and seed."""

    kind: str
    seed: int
    outcome: str
    told: str


@dataclass
class Tally:
    """Outcomes of one kind.

    Attributes:
        slowest: seconds; of those that did not hang.
        memory: most bytes that one took beyond what the process had.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    memory: int = 0


class Worker:
    """A process of :mod:`tests.fuzz.worker`; before the first input of a kind it reads that kind's sound sample."""

    def __init__(self, samples: Mapping[str, Path], log: Path) -> None:
        self.samples, self.warm = samples, set[str]()
        self.log = log
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80", "NO_COLOR": "1"}
        with log.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "tests.fuzz.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
                cwd=ROOT,
            )

    def warm_up(self, kind: str) -> None:
        """Reads the sound sample, so that what is imported for it is there.

        Raises:
            RuntimeError: if it is not read as such.
        """
        if kind not in self.warm:
            answer, _ = self.ask(self.samples[kind], KINDS[kind].command, WARMING, limited=False)
            if answer is None or answer["code"] != 0:
                raise RuntimeError(f"the sound sample of {kind} was not read: {answer or self.told()}")
            self.warm.add(kind)

    def ask(
        self, folder: Path, words: Sequence[str], patience: float = PATIENCE, limited: bool = True
    ) -> tuple[dict[str, Any] | None, float]:
        """The worker's answer, None if it gave none, and the seconds it took."""
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            shutil.copytree(folder, place, dirs_exist_ok=True)
            begun = time.monotonic()
            self._send({"folder": place, "words": list(words), "limited": limited})
            answer = self._line(patience)
            return answer, time.monotonic() - begun

    def _send(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def _line(self, patience: float) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        begun, spent = time.monotonic(), self._spent()
        ready: list[Any] = []
        while not ready and time.monotonic() - begun < max(LONGEST, patience) and self._spent() - spent < patience:
            ready, _, _ = select.select([self.process.stdout], [], [], 0.5)
        line = self.process.stdout.readline() if ready else b""
        return dict(json.loads(line)) if line else None

    def _spent(self) -> float:
        """Seconds of processor time that the process has taken so far; endless once it has ended."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def told(self) -> str:
        """The end of what it said to its log."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGABRT)  # faulthandler then tells where it was
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def usable(names: Sequence[str] = ()) -> list[str]:
    """The kinds whose libraries are installed, of ``names`` if any are given."""
    return [name for name, kind in KINDS.items() if (not names or name in names) and find_spec(kind.needs)]


def samples(names: Sequence[str], folder: Path) -> dict[str, Path]:
    """A sound sample of each kind, in a folder of its own."""
    made = {}
    for number, name in enumerate(names):
        made[name] = folder / f"sample{number}"
        made[name].mkdir(parents=True)
        KINDS[name].make(made[name])
    return made


def mutated(kind: Kind, sample: Path, seed: int, folder: Path) -> tuple[tuple[str, ...], int]:
    """Writes the input of this seed into ``folder``; gives the command that reads it, and the bytes of the changed file."""
    rng = Random(seed)
    shutil.copytree(sample, folder, dirs_exist_ok=True)
    if kind.words is not None:
        return kind.words(rng, kind.command), 0
    name = rng.choice(list(kind.mutated))
    sound = (sample / name).read_bytes()
    try:
        content = kind.mutated[name](rng, sound)
    except Exception:  # a library that writes the form may not be able to write it changed so
        content = bytes_changed(rng, sound)
    (folder / name).write_bytes(content)
    return kind.command, len(content)


def judged(answer: Mapping[str, Any] | None, size: int, alive: bool) -> tuple[str, str]:
    """The outcome of one input, and what there is to tell of it."""
    if answer is None:
        return ("hung", "") if alive else ("died", "")
    spoken = answer["stdout"] + answer["stderr"]
    if answer["seen"]:
        return "ran", "; ".join(answer["seen"])
    if answer["failure"] or answer["code"] not in (0, 1, 2):
        return "crashed", answer["failure"] or f"exit code {answer['code']}: {spoken}"
    if answer["code"] == 2 and not spoken.strip():
        return "crashed", "no message"
    if any(not (c.isprintable() or c in "\n\t") for c in spoken):
        return "terminal", repr(spoken[:1000])
    if answer["memory"] > 2 * size + SLACK:
        return "memory", f"{answer['memory']:,} bytes for a file of {size:,}: {spoken[:300]}"
    return ("read" if answer["code"] == 0 else "refused"), spoken


def fuzz(
    made: Mapping[str, Path], work: Path, seeds: Iterator[tuple[str, int]]
) -> Iterator[tuple[str, int, str, str, float, int]]:
    """Reads the input of each (kind, seed): kind, seed, outcome, what is to be told, seconds, bytes of memory."""
    worker = None
    try:
        for name, seed in seeds:
            work.mkdir(exist_ok=True)
            worker = worker or Worker(made, work / "worker.log")
            worker.warm_up(name)
            folder = work / "input"
            shutil.rmtree(folder, ignore_errors=True)
            words, size = mutated(KINDS[name], made[name], seed, folder)
            answer, seconds = worker.ask(folder, words)
            outcome, told = judged(answer, size, worker.process.poll() is None)
            if answer is None:
                worker.stop()
                told, worker = worker.told(), None
            yield name, seed, outcome, told, seconds, 0 if answer is None else answer["memory"]
    finally:
        if worker is not None:
            worker.stop()


def campaign(
    made: Mapping[str, Path], work: Path, seeds: Iterator[tuple[str, int]], told: Any = lambda line: None
) -> tuple[dict[str, Tally], list[Finding]]:
    """Tallies by kind, and the findings; ``told`` receives a line for each finding.

    Args:
        made: the sound samples, see :func:`samples`.
        work: a folder of its own.
    """
    tallies, findings = {name: Tally() for name in made}, list[Finding]()
    run(made, work, seeds, tallies, findings, told)
    return tallies, findings


def run(
    made: Mapping[str, Path],
    work: Path,
    seeds: Iterator[tuple[str, int]],
    tallies: Mapping[str, Tally],
    findings: list[Finding],
    told: Any = lambda line: None,
) -> None:
    """The same into tallies that others may look at, or add to, meanwhile."""
    for name, seed, outcome, what, seconds, memory in fuzz(made, work, seeds):
        tally = tallies[name]
        tally.outcomes[outcome] += 1
        if outcome != "hung":
            tally.slowest = max(tally.slowest, seconds)
        tally.memory = max(tally.memory, memory)
        if outcome not in FINE:
            findings.append(Finding(name, seed, outcome, what))
            told(f"{name}, seed {seed}: {outcome}\n{what}")
