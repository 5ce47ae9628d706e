"""``idsnn train STUDENT --data SET:DIR --out RUN``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options

EXAMPLES = """\b
Examples:
  idsnn train student.safetensors --teacher resnet32.th \\
      --data cifar10:DIR --out run
  idsnn train student.safetensors --recipe init-only --epochs 10 \\
      --set optimizer.lr=0.1 --data cifar10:DIR --out run2
"""

SECTIONS = {
    "What to train on": ("data", "limit_train", "normalisation", "out", "resume"),
    "How to train": ("teacher", "recipe", "epochs", "seed", "overrides"),
    "How to run": ("device", "compiled"),
    "What the teacher is": options.TEACHER,
}


@click.command("train", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("student", type=options.PATH)
@options.data
@click.option("--out", type=options.PATH, required=True, metavar="RUN", help="The folder of the run.")
@click.option("--teacher", type=options.PATH, metavar="FILE", help="The trained network to distill from.")
@click.option(
    "--recipe",
    default="idsnn",
    show_default=True,
    metavar="NAME|FILE",
    help="idsnn (the published numbers), idsnn-fast (a few epochs), baseline, init-only, kd-only; or a TOML file.",
)
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="Instead of the recipe's number of epochs.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Instead of the recipe's seed.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.1.")
@click.option("--limit-train", type=click.IntRange(1), metavar="N", help="Only N training images, drawn by the seed.")
@options.normalisation
@click.option("--resume", is_flag=True, help="Go on where the run in RUN stopped, however it stopped.")
@options.arch
@options.input_size
@options.device
@options.compiled
@options.as_json
def command(
    student: Path,
    data: str,
    out: Path,
    epochs: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **choices: Any,
) -> None:
    """Train the spiking checkpoint STUDENT with surrogate gradients, distilling from a teacher if the recipe says so.

    Reads STUDENT, the teacher and the data. Writes into the folder RUN: best.safetensors and last.safetensors
    (checkpoints like STUDENT), metrics.jsonl (a line an epoch), recipe.toml (every setting), state.safetensors (what
    --resume needs). Ctrl-C stops it so that it can be resumed; so can a run that was killed.

    An epoch of 50,000 CIFAR images takes a spiking resnet20 of 4 time steps 20 minutes on one core. Recipe idsnn asks
    for 200 epochs, idsnn-fast for a few.
    """
    from idsnn_convert.learn import train_file
    from idsnn_convert.report.data import described_training
    from idsnn_convert.report.progress import TrainingBar, tell
    from idsnn_convert.report.terminal import print_training
    from idsnn_convert.report.text import print_json
    from idsnn_convert.runtime.stop import Interrupted

    numbers = {"run.epochs": epochs, "run.seed": seed}
    changes = [f"{key}={value}" for key, value in numbers.items() if value is not None]
    try:
        with TrainingBar() as bar:
            training = train_file(student, data, out, overrides=[*changes, *overrides], watcher=bar, told=tell, **choices)
    except Interrupted as stop:
        tell(f"{stop}; the same command with --resume goes on from here")
        raise click.exceptions.Exit(stop.exit_code) from stop
    print_json(described_training(training)) if as_json else print_training(training.result)
