"""``idsnn evaluate FILE --data SET:DIR``."""

from __future__ import annotations

from pathlib import Path

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options


@click.command("evaluate", cls=Command, context_settings=SETTINGS)
@click.argument("file", type=click.Path(path_type=Path))
@options.data
@options.normalisation
@click.option("-T", "--time-steps", type=click.IntRange(1), help="Time steps of a student.  [default: the checkpoint's]")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N test images.")
@options.arch
@options.device
@options.compiled
@options.as_json
def command(
    file: Path,
    data: str,
    normalisation: str | None,
    time_steps: int | None,
    limit: int | None,
    arch: str | None,
    device: str,
    compiled: bool | None,
    as_json: bool,
) -> None:
    """Measure the accuracy of the student or teacher in FILE on the test images of a data set.

    How a teacher's images were normalised is read off its first batch norm: the known normalisation whose images
    reproduce the mean and variance stored there.
    """
    from idsnn_convert.learn import evaluate_file
    from idsnn_convert.report.progress import counting, tell
    from idsnn_convert.report.terminal import print_evaluation, print_json

    with counting("evaluating") as progress:
        found, chosen = evaluate_file(
            file,
            data,
            normalisation=normalisation,
            time_steps=time_steps,
            limit=limit,
            arch=arch,
            device=device,
            compiled=compiled,
            progress=progress,
            told=tell,
        )
    if not as_json:
        print_evaluation(found, chosen.normalisation.name)
        return
    facts = {"top1": found.top1, "loss": found.loss, "images_per_second": found.images_per_second, "images": found.images}
    steps = {"top1_per_step": list(found.top1_per_step)} if found.top1_per_step else {}
    reason = {"normalisation": chosen.normalisation.to_json(), "normalisation_reason": chosen.reason}
    print_json({**facts, **steps, **reason})
