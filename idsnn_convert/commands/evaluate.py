"""``idsnn evaluate FILE --data SET:DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn evaluate resnet32.th --data cifar10:DIR
  idsnn evaluate run/best.safetensors --data cifar10:DIR -T 2 --limit 1000
  idsnn evaluate run/best.safetensors --data cifar10:DIR --early-exit 0.9
  idsnn evaluate run/best.safetensors --data cifar10:DIR --weight-bits 16
"""

SECTIONS = {
    "What to measure": (*options.DATA, "limit", "time_steps", "steps", "early_exit", "details", "normalisation"),
    "How to run": ("device", "compiled", "weight_bits"),
    "What the teacher is": options.TEACHER,
}


@click.command("evaluate", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("file", type=options.PATH)
@options.data
@options.normalisation
@click.option("-T", "--time-steps", type=click.IntRange(1), metavar="N", help="Of a student.  [default: the checkpoint's]")
@click.option(
    "--steps",
    metavar="N,N,...",
    help="Tell the accuracy after these numbers of time steps; T is the largest.  [default: all, of a long simulation some]",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N test images.")
@click.option(
    "--early-exit",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="CONFIDENCE",
    help="What a student gives that stops once its softmax reaches this.",
)
@click.option("--details", is_flag=True, help="Also early exits, firing rates of each layer, and accuracy of each class.")
@options.arch
@options.input_size
@options.device
@options.compiled
@click.option(
    "--weight-bits",
    type=click.Choice(["8", "16"]),
    help="Round a student's weights to so many bits and compute its convolutions of spikes in integers: faster on a processor "
    "with AVX-512 VNNI, the fewer the bits the more. A teacher's weights and maps: 8.",
)
@options.as_json
def command(
    file: Path,
    data: str,
    time_steps: int | None,
    steps: str | None,
    early_exit: float | None,
    details: bool,
    weight_bits: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Measure the accuracy of the student or teacher in FILE on the test images of a data set.

    A student's accuracy after 1, 2, ... T steps and with every early exit comes out of one pass over all T steps, for no
    step depends on a later one; beyond 32 steps they run a few at a time, so that memory does not grow with T. A layer that
    hardly fires is flagged dead, one that nearly always fires saturated.

    A teacher's file does not say how its images were normalised, but its first batch norm remembers: the known
    normalisation whose images give the mean and variance stored there is taken. The best three are told on stderr.

    Reads FILE and the data; writes nothing. 10,000 CIFAR images through a spiking resnet20 of 4 time steps take 40
    seconds on one core.
    """
    with unswept():
        from idsnn_convert.learn import evaluate_file
        from idsnn_convert.report.data import described_evaluation
        from idsnn_convert.report.evaluation import described_details, print_details, print_exit
        from idsnn_convert.report.progress import counting, tell
        from idsnn_convert.report.terminal import print_evaluation
        from idsnn_convert.report.text import print_json
        from idsnn_convert.runtime.allocator import keep_memory
        from idsnn_convert.runtime.details import DetailedEvaluation

    wanted = () if steps is None else _steps(steps)
    if wanted and time_steps is not None:
        raise click.UsageError("--steps says T too: leave out -T.")
    keep_memory()
    asked: dict[str, Any] = {"early_exit": early_exit, "details": details, "time_steps": max(wanted, default=time_steps)}
    asked |= choices | {"weight_bits": None if weight_bits is None else int(weight_bits)}
    with counting("evaluating") as progress:
        found, chosen = evaluate_file(file, data, progress=progress, told=tell, **asked)
    detailed = found if isinstance(found, DetailedEvaluation) else None
    if as_json:
        print_json({**described_evaluation(found, chosen), **(described_details(detailed) if detailed else {})})
        return
    print_evaluation(found, chosen.normalisation.name, wanted)
    if detailed and early_exit is not None:
        print_exit(detailed, early_exit)
    if detailed and details:
        print_details(detailed)


def _steps(text: str) -> tuple[int, ...]:
    """The numbers in ``1,2,10``, ascending."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise click.UsageError(f"--steps is a list of whole numbers from 1 on, such as 1,10,100, not {text!r}.")
    return tuple(found)
