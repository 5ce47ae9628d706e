"""``idsnn report RUN ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn report run --data cifar10:DIR --teacher resnet32.th --image 7
  idsnn report run --baseline 91.25 -o run.html
  idsnn report run-kd run-init-only run-baseline -o compared.html
"""

SECTIONS = {
    "What to write": ("output", "baseline"),
    "What to measure first": (*options.DATA, "teacher", "image", "limit", "probe_seed", "device"),
}


@click.command("report", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("runs", metavar="RUN...", type=options.PATH, nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="FILE", type=options.PATH, default=Path("run.html"), show_default=True, help="Where to write."
)
@click.option("--baseline", metavar="PERCENT|RUN", help="An accuracy to hold the runs against, or another run's best.")
@options.data_if_named("The runs' data: measure their best networks.")
@click.option("--teacher", metavar="FILE", type=options.PATH, help="Measure this teacher too, on the runs' test images.")
@click.option("--image", type=click.IntRange(0), metavar="N", help="The test image whose spikes are shown.  [default: 0]")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Test images for energy, mistakes and firing.  [default: 1000]",
)
@click.option("--seed", "probe_seed", type=click.IntRange(0), metavar="N", help="Draws the neurons shown.  [default: 0]")
@options.device
@options.as_json
def command(
    runs: tuple[Path, ...],
    output: Path,
    baseline: str | None,
    data: Any,
    device: str,
    as_json: bool,
    **measured: Any,
) -> None:
    """Draw training runs: curves, accuracy by time steps, firing, spikes, energy, mistakes, and recipes.

    Several runs are compared: their curves in one figure, and in what their recipes differ.

    Reads the folders RUN that idsnn train or idsnn teach wrote, also of a run that goes on. Writes one page (.html) that
    needs no other file and no network. Takes a second or two.

    With --data each run's best network is measured first and what is found kept in RUN/probe.json, from which later
    pages are drawn: spikes and potentials of one image, energy, mistakes, the teacher. With a spiking resnet20 of 4 time
    steps that takes half a minute of one core.
    """
    with unswept():
        from idsnn_convert.report.run_page import run_page
        from idsnn_convert.report.runs import read_baseline, read_runs
        from idsnn_convert.report.terminal import print_written
        from idsnn_convert.report.text import print_json
        from idsnn_convert.report.write import check_places
        from idsnn_convert.runtime.errors import UserError
        from idsnn_convert.runtime.files import write_text

    asked = {name: value for name, value in measured.items() if value is not None}
    if data is None and asked:
        raise click.UsageError(f"--{next(iter(asked)).removeprefix('probe_')} is of what --data measures; name the data.")
    check_places([output], endings=(".html",), option="-o")
    read_runs(list(runs))  # refuses what is no run before anything is measured
    level = None if baseline is None else read_baseline(baseline)
    for run in runs if data is not None else ():
        _measure(run, data, device, asked)
    read = read_runs(list(runs))
    try:
        page = run_page(read, level)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # What trained a network is not needed to run it, so reading a checkpoint does not check it.
        problem = f"of {', '.join(map(str, runs))} it is not told as this release tells it how it was trained ({error!r:.200})"
        raise UserError(problem, hint="Is last.safetensors the run's own?") from error
    write_text(output, page)
    if as_json:
        print_json(
            {"kind": "run report", "file": str(output), "bytes": output.stat().st_size, "runs": [str(run) for run in runs]}
        )
    else:
        print_written(output)


def _measure(run: Path, data: Any, device: str, asked: dict[str, Any]) -> None:
    """Measures the run's best network and keeps what is found in its folder."""
    with unswept():
        from idsnn_convert.probe import probe_run
        from idsnn_convert.report.probed import write_probed
        from idsnn_convert.report.progress import counting, tell

    chosen = {name.removeprefix("probe_"): value for name, value in asked.items()}
    with counting(f"measuring {run.name}") as progress:
        probed = probe_run(run, data, device=device, progress=progress, told=tell, **chosen)
    tell(f"{write_probed(run, probed)}: {probed.images:,} images of {probed.data}, top-1 {probed.top1_percent:.2f} %")
