"""``python -m tests.fuzz``: fuzzes for so many minutes, or so many inputs; says what it found; exit code 1 if anything."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.campaign import FINE, campaign, samples, usable


def seeds(kinds: Sequence[str], start: int, minutes: float | None, inputs: int | None) -> Iterator[tuple[str, int]]:
    """The kinds in turn, a new seed each time around."""
    until = None if minutes is None else time.monotonic() + 60 * minutes
    for number in itertools.count() if inputs is None else range(inputs):
        if until is not None and time.monotonic() > until:
            return
        yield kinds[number % len(kinds)], start + number // len(kinds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=None, help="how long")
    parser.add_argument("--inputs", type=int, default=None, help="how many")
    parser.add_argument("--kinds", nargs="*", default=(), help="only these kinds")
    parser.add_argument("--seed", type=int, default=None, help="the first seed; drawn anew if not given")
    asked = parser.parse_args()
    minutes = 1.0 if asked.minutes is None and asked.inputs is None else asked.minutes
    start = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    kinds = usable(asked.kinds)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as work:
        made = samples(kinds, Path(work))
        found, findings = campaign(made, Path(work), seeds(kinds, start, minutes, asked.inputs), print)
    for name, tally in found.items():
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.outcomes.items()))
        print(f"{name}: {told}; slowest {tally.slowest:.1f} s, most memory {tally.memory / 2**20:.0f} MiB")
    total = sum(tally.outcomes.total() for tally in found.values())
    print(f"{total} inputs from seed {start} on: {len(findings)} not {' or '.join(FINE)}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
