"""Kills, full disks and turned bits, many times over: does a conversion or a run ever lose or tell something wrong?

    PYTHONPATH=. python benchmarks/faults.py [--kills 200] [--pairs 10] [--disks 20] [--flips 500] [--seed 0]

Half of the kills meet ``idsnn convert`` with two reports, half a training run with momenta and a moving average, at moments
drawn by the clock or right before one of their operations on files; the same work is killed up to three times, then left to
end, and held against work that nobody disturbed. After each kill all that can be read is compared with what was ever right.
What is counted as what: tests/faults/campaign.py. Writes benchmarks/results/faults.json and faults.md, anew after each kind of
fault: an interruption keeps what there is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import RESULTS, facts

from idsnn_convert.runtime.files import write_text

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
COLUMNS = {
    "tries": "tries",
    "kills": "kills",
    "told": "told by a message",
    "refused": "refused",
    "failed": "did not go on",
    "wrong": "readable and wrong",
    "unequal": "ended otherwise than undisturbed",
    "leftovers": "left files behind",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("kills", 200), ("pairs", 10), ("disks", 20), ("flips", 500), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    options = [word for name, value in vars(args).items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "tests.faults.campaign", *options]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    told = facts(**vars(args), revision=revision.stdout.strip())
    rows: list[dict[str, Any]] = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            rows.append(json.loads(line))
            print(rows[-1], flush=True)
            write_text(RESULTS / "faults.json", json.dumps({**told, "rows": rows}, indent=1) + "\n")
            write_text(RESULTS / "faults.md", page(told, rows))
    bad = [row["what"] for row in rows if any(isinstance(value, list) and value for value in row.values())]
    sys.exit(running.returncode or (f"something went wrong: {', '.join(bad)}" if bad else 0))


def page(told: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in {"python": told["python"], **told["versions"]}.items())
    lines = [
        "# Kills, full disks, turned bits",
        "",
        f"Written by `benchmarks/faults.py`, which says how; what is counted as what stands in `tests/faults/campaign.py`. "
        f"{told['processor']}, one thread; {versions}; revision {told['revision']}; seed {told['seed']}, one run.",
        "",
        f"{sum(row.get('kills', 0) for row in rows)} kills (SIGKILL). A cell that should be 0 counts the cases that were not.",
        "",
        f"| | {' | '.join(COLUMNS.values())} |",
        f"| {' | '.join(['---'] * (1 + len(COLUMNS)))} |",
    ]
    return "\n".join([*lines, *(f"| {row['what']} | {' | '.join(cells(row))} |" for row in rows)]) + "\n"


def cells(row: dict[str, Any]) -> list[str]:
    found = {"tries": row.get("runs"), **row}
    return [str(len(value) if isinstance(value, list) else "" if value is None else value) for value in map(found.get, COLUMNS)]


if __name__ == "__main__":
    main()
