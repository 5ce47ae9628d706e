"""``idsnn energy STUDENT --data SET:DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn energy run/best.safetensors --data cifar10:DIR --limit 500
  idsnn energy run/best.safetensors --data cifar10:DIR -T 6 --json
"""

SECTIONS = {"What to measure": (*options.DATA, "limit", "time_steps", "normalisation"), "How to run": ("device",)}


@click.command("energy", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("student", type=options.PATH)
@options.data
@click.option("--limit", type=click.IntRange(1), metavar="N", default=1000, show_default=True, help="How many test images.")
@click.option("-T", "--time-steps", type=click.IntRange(1), metavar="N", help="T.  [default: the checkpoint's]")
@options.normalisation
@options.device
@options.as_json
def command(student: Path, data: Any, as_json: bool, **choices: Any) -> None:
    """Count the synaptic operations of the spiking checkpoint STUDENT on real images, and what they cost.

    An operation is a non-zero input meeting a non-zero weight; borders, strides and groups are counted as they are. It
    is an accumulation where a layer's inputs are spikes, else a multiplication and accumulation. Energies follow named
    models; --json gives the source and the assumptions of each.

    Reads STUDENT and the data; writes nothing. 1,000 images through a spiking resnet20 of 4 time steps take a quarter
    of a minute on one core.
    """
    with unswept():
        from idsnn_convert.measure import measure_energy
        from idsnn_convert.report.energy import described_energy, print_energy
        from idsnn_convert.report.progress import counting, tell
        from idsnn_convert.report.text import print_json

    with counting("counting") as progress:
        found = measure_energy(student, data, progress=progress, told=tell, **choices)
    print_json(described_energy(found)) if as_json else print_energy(found)
