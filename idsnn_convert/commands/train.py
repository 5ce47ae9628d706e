"""``idsnn train STUDENT --data SET:DIR --out RUN``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn train student.safetensors --teacher resnet32.th \\
      --data cifar10:DIR --out run
  idsnn train student.safetensors --recipe init-only --epochs 10 \\
      --set optimizer.lr=0.1 --data cifar10:DIR --out run2
  torchrun --nproc-per-node 4 -m idsnn_convert train \\
      student.safetensors --data cifar10:DIR --out run3 ...
"""

SECTIONS = {
    "What to train on": (*options.DATA, "limit_train", "normalisation", "out", "resume"),
    "How to train": ("teacher", "recipe", "epochs", "seed", "overrides"),
    "How to run": ("device", "compiled", *options.CACHE, "tensorboard"),
    "What the teacher is": options.TEACHER,
}


@click.command("train", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("student", type=options.PATH)
@options.data
@options.out
@click.option("--teacher", type=options.PATH, metavar="FILE", help="The trained network to distill from, spiking or not.")
@options.recipe(
    "idsnn",
    "idsnn (the published numbers), idsnn-fast (a few epochs), modern (each step judged), baseline, init-only, kd-only; "
    "lasnn, lasnn-gradient (attention), hybrid, label-kd, spike-kd, for converted students; or a TOML file.",
)
@options.epochs
@options.seed
@options.overrides
@options.limit_train
@options.normalisation
@options.resume
@options.arch
@options.input_size
@options.device
@options.compiled
@options.teacher_cache
@options.tensorboard
@options.as_json
def command(
    student: Path,
    data: Any,
    out: Path,
    epochs: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    tensorboard: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Train the spiking checkpoint STUDENT with surrogate gradients, distilling from a teacher if the recipe says so.

    Reads STUDENT, the teacher and the data. Writes into the folder RUN: best.safetensors and last.safetensors
    (checkpoints like STUDENT), metrics.jsonl (a line an epoch), recipe.toml (every setting), state.safetensors (what
    --resume needs). Ctrl-C stops it so that it can be resumed; so can a run that was killed.

    The teacher may be any network, or for recipe spike-kd a spiking checkpoint. Where the recipe compares feature maps,
    loss.taps=levels does so at three levels of either network, and --set 'loss.taps=["NODE = NODE"]' where you say.

    With --teacher-cache runs with the same teacher share its logits; DIR may be used by any number of them at a time.

    An epoch of 50,000 CIFAR images takes a spiking resnet20 of 4 time steps 20 minutes on one core. Recipe idsnn asks
    for 200 epochs, idsnn-fast for a few.

    Under torchrun each process takes its share of every batch and of the test images, and statistics of batch norm are
    those of the whole batch: the result is that of one process up to rounding. Every process reads STUDENT, the teacher,
    all data and, resuming, RUN; the first one writes. A run may be resumed by another number of processes.
    """
    with unswept():
        from idsnn_convert.commands.running import run
        from idsnn_convert.learn import train_file
        from idsnn_convert.runtime.recipe import load_recipe

    changes = [*options.changed(epochs, seed), *overrides]
    run(
        lambda watcher, tell: train_file(student, data, out, overrides=changes, watcher=watcher, told=tell, **choices),
        as_json,
        out / "tensorboard" if tensorboard else None,
        load_recipe(choices["recipe"], changes).run.batch_size,
    )
