"""``idsnn train STUDENT --data SET:DIR --out RUN``."""

from __future__ import annotations

from pathlib import Path

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options

EXAMPLES = """\b
Examples:
  idsnn train student.safetensors --teacher net.th --data cifar10:dir --out a
  idsnn train student.safetensors --recipe baseline --data cifar10:dir --out b
  idsnn train (as before) --resume
"""


@click.command("train", cls=Command, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("student", type=click.Path(path_type=Path))
@options.data
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="The folder of the run.")
@click.option("--teacher", type=click.Path(path_type=Path), metavar="FILE", help="The trained network to distill from.")
@click.option("--recipe", default="idsnn", show_default=True, metavar="NAME|FILE", help="A shipped recipe, or a TOML file.")
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="Instead of the recipe's number of epochs.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Instead of the recipe's seed.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.1.")
@click.option("--limit-train", type=click.IntRange(1), metavar="N", help="Train on N images only, drawn by the seed.")
@options.normalisation
@click.option("--resume", is_flag=True, help="Go on where the run in RUN stopped, however it stopped.")
@options.arch
@options.device
@options.compiled
@options.as_json
def command(
    student: Path,
    data: str,
    out: Path,
    teacher: Path | None,
    recipe: str,
    epochs: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    limit_train: int | None,
    normalisation: str | None,
    resume: bool,
    arch: str | None,
    device: str,
    compiled: bool | None,
    as_json: bool,
) -> None:
    """Train the spiking checkpoint STUDENT with surrogate gradients, distilling from a teacher if the recipe says so.

    Writes into the folder RUN: best.safetensors and last.safetensors (checkpoints like STUDENT), metrics.jsonl (a line
    an epoch), recipe.toml (every setting), and what --resume needs. Ctrl-C stops it so that it can be resumed.
    """
    from idsnn_convert.learn import train_file
    from idsnn_convert.report.progress import TrainingBar, tell
    from idsnn_convert.report.terminal import print_json, print_training
    from idsnn_convert.runtime.stop import Interrupted

    numbers = {"run.epochs": epochs, "run.seed": seed}
    changes = [f"{key}={value}" for key, value in numbers.items() if value is not None]
    try:
        with TrainingBar() as bar:
            training = train_file(
                student,
                data,
                out,
                teacher=teacher,
                recipe=recipe,
                overrides=[*changes, *overrides],
                normalisation=normalisation,
                limit_train=limit_train,
                resume=resume,
                arch=arch,
                device=device,
                compiled=compiled,
                watcher=bar,
                told=tell,
            )
    except Interrupted as stop:
        tell(f"{stop}; the same command with --resume goes on from here")
        raise click.exceptions.Exit(stop.exit_code) from stop
    result = training.result
    if not as_json:
        print_training(result)
        return
    best = {"best_top1": result.best_top1, "best_epoch": result.best_epoch, "best": str(result.best)}
    last = {"last_top1": result.last_top1, "epochs": result.epochs, "last": str(result.last)}
    print_json({**best, **last, "normalisation": training.normalised.normalisation.to_json()})
