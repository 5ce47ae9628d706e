"""``idsnn doctor TEACHER`` and ``idsnn doctor --machine``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn doctor resnet32.th --target resnet20
  idsnn doctor resnet32.th --data cifar10:DIR
  idsnn doctor --machine
"""

SECTIONS = {
    "What to look at": ("target", "data", "machine"),
    "What the teacher is": options.TEACHER,
    "What its file may run": options.TRUST,
}


@click.command(
    "doctor", cls=Command, sections=SECTIONS, fails="TEACHER does not convert", context_settings=SETTINGS, epilog=EXAMPLES
)
@click.argument("teacher", type=options.PATH, required=False)
@click.option("--target", metavar="ARCH", help="The network to try.  [default: the teacher's own structure]")
@click.option("--data", metavar="SET:DIR", help=options.DATA_HELP)
@click.option("--machine", is_flag=True, help="Say what this machine has instead; needs no TEACHER.")
@options.arch
@options.input_size
@options.trust
@options.as_json
def command(teacher: Path | None, target: str | None, data: str | None, machine: bool, as_json: bool, **choices: Any) -> None:
    """Say what keeps the network in TEACHER from converting: where it is, why, and what to do.

    Also what was assumed of it, and what converts but not to the letter. With --data its batch norms are held against
    real images: these say how the images were normalised, and the first that disagrees is where the network read from
    the file departs from the one that was trained.

    Reads TEACHER, and runs no code from it unless you say so; writes nothing; takes seconds, with --data half a
    minute.
    """
    if machine:
        if teacher is not None:
            raise click.UsageError("--machine looks at this machine; leave TEACHER out.")
        _machine(as_json)
        return
    if teacher is None:
        raise click.UsageError("Missing argument 'TEACHER'; or ask about the machine with --machine.")
    with unswept():
        from idsnn_convert.examine import examine
        from idsnn_convert.report.data import described_diagnosis
        from idsnn_convert.report.doctor import print_diagnosis
        from idsnn_convert.report.text import print_json

    found = examine(teacher, target=target, data=data, **choices)
    print_json(described_diagnosis(found, teacher)) if as_json else print_diagnosis(found, teacher)
    if found.problems:
        raise click.exceptions.Exit(1)


def _machine(as_json: bool) -> None:
    with unswept():
        from idsnn_convert.machine import machine
        from idsnn_convert.report.doctor import print_machine
        from idsnn_convert.report.text import print_json

    print_json(machine()) if as_json else print_machine(machine())
