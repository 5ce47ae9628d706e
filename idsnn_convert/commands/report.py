"""``idsnn report RUN ...``."""

from __future__ import annotations

from pathlib import Path

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options

EXAMPLES = """\b
Examples:
  idsnn report run
  idsnn report run-kd run-init-only run-baseline -o compared.html
"""


@click.command("report", cls=Command, sections={"What to write": ("output",)}, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("runs", metavar="RUN...", type=options.PATH, nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="FILE", type=options.PATH, default=Path("run.html"), show_default=True, help="Where to write."
)
@options.as_json
def command(runs: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Draw training runs: curves of loss and accuracy, accuracy by time steps, and in what their recipes differ.

    Reads the folders RUN that idsnn train or idsnn teach wrote, also of a run that goes on. Writes one page (.html) that
    needs no other file and no network. Takes a second or two.
    """
    from idsnn_convert.report.run_page import run_page
    from idsnn_convert.report.runs import read_runs
    from idsnn_convert.report.terminal import print_written
    from idsnn_convert.report.text import print_json
    from idsnn_convert.report.write import check_places
    from idsnn_convert.runtime.files import write_text

    check_places([output], endings=(".html",), option="-o")
    write_text(output, run_page(read_runs(list(runs))))
    if as_json:
        print_json(
            {"kind": "run report", "file": str(output), "bytes": output.stat().st_size, "runs": [str(run) for run in runs]}
        )
    else:
        print_written(output)
