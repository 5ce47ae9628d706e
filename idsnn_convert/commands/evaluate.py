"""``idsnn evaluate FILE --data SET:DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options

EXAMPLES = """\b
Examples:
  idsnn evaluate resnet32.th --data cifar10:DIR
  idsnn evaluate run/best.safetensors --data cifar10:DIR -T 2 --limit 1000
"""

SECTIONS = {
    "What to measure": ("data", "limit", "time_steps", "normalisation"),
    "How to run": ("device", "compiled"),
    "What the teacher is": options.TEACHER,
}


@click.command("evaluate", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("file", type=options.PATH)
@options.data
@options.normalisation
@click.option("-T", "--time-steps", type=click.IntRange(1), metavar="N", help="Of a student.  [default: the checkpoint's]")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N test images.")
@options.arch
@options.input_size
@options.device
@options.compiled
@options.as_json
def command(file: Path, data: str, as_json: bool, **choices: Any) -> None:
    """Measure the accuracy of the student or teacher in FILE on the test images of a data set.

    A teacher's file does not say how its images were normalised, but its first batch norm remembers: the known
    normalisation whose images give the mean and variance stored there is taken. The best three are told on stderr.

    Reads FILE and the data; writes nothing. 10,000 CIFAR images through a spiking resnet20 of 4 time steps take 40
    seconds on one core.
    """
    from idsnn_convert.learn import evaluate_file
    from idsnn_convert.report.data import described_evaluation
    from idsnn_convert.report.progress import counting, tell
    from idsnn_convert.report.terminal import print_evaluation
    from idsnn_convert.report.text import print_json

    with counting("evaluating") as progress:
        found, chosen = evaluate_file(file, data, progress=progress, told=tell, **choices)
    print_json(described_evaluation(found, chosen)) if as_json else print_evaluation(found, chosen.normalisation.name)
