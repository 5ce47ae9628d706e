"""Mutated inputs of every kind: what becomes of each.

    python -m benchmarks.fuzz --inputs 10000 --workers 2

Writes ``results/fuzz.json`` and ``results/fuzz.md``, anew each minute. An input of a kind and seed is always the same one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from tests.fuzz.campaign import FINE, LONGEST, PATIENCE, SLACK, Finding, Tally, run, samples, usable

RESULTS = Path(__file__).parent / "results"
SLOW = ("pickled module", "TorchScript", "exported program", "run state", "checkpoint to run", "pairs", "timm name")
"""Kinds of which a sound input takes about a second: they get a third as many."""

OUTCOMES = ("read", "refused", "crashed", "died", "hung", "ran", "memory", "terminal")


def shares(kinds: list[str], inputs: int) -> dict[str, int]:
    """How many inputs of each kind."""
    weights = {kind: 1 if kind in SLOW else 3 for kind in kinds}
    found = {kind: inputs * weight // sum(weights.values()) for kind, weight in weights.items()}
    found[kinds[0]] += inputs - sum(found.values())
    return found


def seeds(counts: Mapping[str, int], first: int, part: int, parts: int, until: float) -> Iterator[tuple[str, int]]:
    """Every ``parts``-th input, the kinds in turn so that a campaign cut short has some of all."""
    for seed in range(part, max(counts.values()), parts):
        for kind, count in counts.items():
            if seed < count and time.monotonic() < until:
                yield kind, first + seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop by then, with fewer inputs")
    parser.add_argument("--kinds", nargs="*", default=())
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz")
    asked = parser.parse_args()
    counts, begun = shares(usable(asked.kinds), asked.inputs), time.monotonic()
    tallies, findings = {kind: Tally() for kind in counts}, list[Finding]()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as work, ThreadPoolExecutor(asked.workers) as pool:
        made, until = samples(list(counts), Path(work)), begun + 60 * asked.minutes
        pending = {
            pool.submit(
                run,
                made,
                Path(work) / f"part{k}",
                seeds(counts, asked.seed, k, asked.workers, until),
                tallies,
                findings,
                print,
            )
            for k in range(asked.workers)
        }
        while pending:
            done, pending = wait(pending, timeout=60, return_when=FIRST_EXCEPTION)
            write(asked.out, tallies, findings, asked, begun)
            for part in done:
                part.result()


def write(place: Path, tallies: dict[str, Tally], findings: list[Finding], asked: argparse.Namespace, begun: float) -> None:
    rows = [
        {
            "kind": kind,
            "inputs": tally.outcomes.total(),
            **{outcome: tally.outcomes[outcome] for outcome in OUTCOMES},
            "slowest_seconds": round(tally.slowest, 2),
            "memory_mib": round(tally.memory / 2**20),
        }
        for kind, tally in tallies.items()
    ]
    record: dict[str, Any] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "first_seed": asked.seed,
        "inputs": sum(row["inputs"] for row in rows),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "findings": [{"kind": one.kind, "seed": one.seed, "outcome": one.outcome} for one in findings],
        "kinds": rows,
    }
    place.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    place.with_suffix(".md").write_text(_table(record))


def _table(record: dict[str, Any]) -> str:
    facts = ("inputs", *OUTCOMES, "slowest_seconds", "memory_mib")
    rows = [[row["kind"], *(row[fact] or "" for fact in facts)] for row in record["kinds"]]
    total = [(max if fact in facts[-2:] else sum)(row[fact] for row in record["kinds"]) or "" for fact in facts]
    titles = ["kind", "inputs", *OUTCOMES, "slowest, s", "memory, MiB"]
    lines = [f"| {' | '.join(map(str, row))} |" for row in (titles, ["---"] * len(titles), *rows, ["all", *total])]
    told = (
        f"{record['inputs']:,} mutated inputs, seeds from {record['first_seed']} on, in {record['minutes']:g} minutes; Python "
        f"{record['python']}, torch {record['torch']}, {record['cores']} cores shared with other work.",
        f"`{'` and `'.join(FINE)}` are as it must be: exit code 0, or 1 or 2 with a message. An input hangs after "
        f"{PATIENCE:g} s of processor time or {LONGEST:g} s by the clock, and takes too much memory beyond twice its bytes and "
        f"{SLACK >> 20} MiB. `ran`: an audit hook saw what no input may cause (a process, a connection, a file elsewhere). "
        "`terminal`: control characters on stdout or stderr.",
    )
    return "\n\n".join((*told, "\n".join(lines))) + "\n"


if __name__ == "__main__":
    main()
