"""``idsnn inspect FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options


@click.command("inspect", cls=Command, context_settings=SETTINGS)
@click.argument("file", type=click.Path(path_type=Path))
@options.arch
@options.input_size
@options.as_json
def command(file: Path, arch: str | None, input_size: int | None, as_json: bool) -> None:
    """Show what is in FILE: a teacher's structure, or a spiking checkpoint's mapping, neurons and training.

    Reads the file, writes nothing.
    """
    from idsnn_convert.api import open_file
    from idsnn_convert.report.data import described, described_teacher
    from idsnn_convert.report.terminal import print_checkpoint, print_json, print_teacher
    from idsnn_convert.runtime.checkpoint import Checkpoint

    opened = open_file(file, arch=arch, input_size=input_size)
    if isinstance(opened, Checkpoint):
        print_json(described(opened)) if as_json else print_checkpoint(opened)
    else:
        facts = described_teacher(opened)
        print_json(facts) if as_json else print_teacher(facts)
