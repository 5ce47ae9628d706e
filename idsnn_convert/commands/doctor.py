"""``idsnn doctor TEACHER``."""

from __future__ import annotations

from pathlib import Path

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options


@click.command("doctor", cls=Command, context_settings=SETTINGS)
@click.argument("teacher", type=click.Path(path_type=Path), required=False)
@click.option("--target", metavar="ARCH", help="The network it shall become.")
@click.option("--data", metavar="SET:DIR", help="The images it was trained on: cifar10:DIR, ...")
@options.arch
@options.input_size
@click.option("--machine", "of_machine", is_flag=True, help="Say what this machine has, instead.")
@options.as_json
def command(
    teacher: Path | None,
    target: str | None,
    data: str | None,
    arch: str | None,
    input_size: int | None,
    of_machine: bool,
    as_json: bool,
) -> None:
    """Say what of TEACHER would not convert: node, place in its source where known, reason, and what to do.

    With --data also whether the rebuilt network is the one that was trained: how well real images reproduce what
    every batch norm stored. Writes nothing. Exit code 0 if a conversion would succeed, 1 if not.
    """
    from idsnn_convert.examine import examine, machine
    from idsnn_convert.report.data import diagnosed
    from idsnn_convert.report.doctor import print_diagnosis, print_machine
    from idsnn_convert.report.terminal import print_json

    if of_machine:
        print_json(machine()) if as_json else print_machine(machine())
        return
    if teacher is None:
        raise click.UsageError("Name a TEACHER, or ask for --machine.")
    found = examine(teacher, target=target, data=data, arch=arch, input_size=input_size)
    print_json(diagnosed(found)) if as_json else print_diagnosis(found)
    if found.problems:
        raise click.exceptions.Exit(1)
