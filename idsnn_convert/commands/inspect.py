"""``idsnn inspect FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn inspect resnet32.th
  idsnn inspect student.safetensors --json
  idsnn inspect student.safetensors --report mapping.html
"""


@click.command(
    "inspect", cls=Command, sections={"What the teacher is": options.TEACHER}, context_settings=SETTINGS, epilog=EXAMPLES
)
@click.argument("file", type=options.PATH)
@options.arch
@options.input_size
@options.reports
@options.as_json
def command(file: Path, arch: str | None, input_size: int | None, reports: tuple[Path, ...], as_json: bool) -> None:
    """Show what is in FILE: a teacher's structure, or a spiking checkpoint's mapping, neurons and training.

    Reads FILE, and runs no code from it; writes nothing but the reports that are asked for; takes seconds. With --json
    a checkpoint's every tensor is listed with its source and rule, and its whole graph.
    """
    with unswept():
        from idsnn_convert.api import open_file
        from idsnn_convert.report.build import recorded
        from idsnn_convert.report.data import described, described_teacher
        from idsnn_convert.report.terminal import print_checkpoint, print_teacher, print_written
        from idsnn_convert.report.text import print_json
        from idsnn_convert.report.write import check_places, write_reports
        from idsnn_convert.runtime.checkpoint import Checkpoint
        from idsnn_convert.runtime.errors import UserError

    check_places(reports, [file])
    opened = open_file(file, arch=arch, input_size=input_size)
    if not isinstance(opened, Checkpoint):
        if reports:
            raise UserError(f"{file} is a teacher; reports are of students", hint="idsnn convert TEACHER --report FILE")
        facts = described_teacher(opened)
        print_json(facts) if as_json else print_teacher(facts)
        return
    try:
        record = recorded(opened, file)
        write_reports(record, reports)
        if as_json:
            print_json(described(opened, record))
        else:
            print_checkpoint(record)
            print_written(*reports)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # How a network was made is not needed to run it, so reading a checkpoint does not check it.
        problem = f"{file} holds a network, but how it was made is not told as this release tells it ({error!r})"
        raise UserError(problem, hint="The network itself is sound: idsnn evaluate and idsnn train take it.") from error
