"""``idsnn teach --arch ARCH --data SET:DIR --out RUN``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn teach --arch resnet34 --data cifar100:DIR --out teacher
  idsnn-convert teacher/best.safetensors --target resnet18 -o student
  idsnn train student --teacher teacher/best.safetensors \\
      --data cifar100:DIR --out run
"""

SECTIONS = {
    "What the teacher is": ("arch", "stem", "downsample", "width"),
    "What to train on": (*options.DATA, "limit_train", "limit_test", "normalisation", "out", "resume"),
    "How to train": ("recipe", "epochs", "seed", "overrides"),
    "How to run": ("device", "tensorboard"),
}


@click.command("teach", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.option(
    "--arch",
    required=True,
    metavar="ARCH",
    help="resnet18 to resnet152, resnet20, ..., densenet121, vgg16_bn; students: vgg5, ..., resnet12; or FILE.toml.",
)
@click.option("--stem", metavar="KIND", default="auto", show_default=True, help="cifar (3x3), imagenet (7x7 and pool) or auto.")
@click.option(
    "--downsample",
    metavar="KIND",
    default="auto",
    show_default=True,
    help="Shortcuts that change shape: projection (1x1 convolution), pad (zeros), or auto: as the network was published.",
)
@click.option("--width", metavar="FACTOR", type=float, default=1.0, show_default=True, help="Times as many channels.")
@options.data
@options.out
@options.recipe("teacher", "teacher (30 epochs); or a TOML file.")
@options.epochs
@options.seed
@options.overrides
@options.limit_train
@options.limit_test
@options.normalisation
@options.resume
@options.device
@options.tensorboard
@options.as_json
def command(
    arch: str,
    data: Any,
    out: Path,
    epochs: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    tensorboard: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Train a teacher, a network without spikes, from fresh weights: the first step to a spiking network.

    conv3-fc2, vgg5, vgg7, vgg9, vgg16 and resnet12 have neither bias nor batch norm, pool by means and drop out, as LaSNN's
    students: trained here, they convert with --target same. Where such a network diverges, --set optimizer.grad_clip=5.

    Reads the data. Classes, channels and image size are the data's; images up to 64x64 get a 3x3 stem. Writes into the
    folder RUN: best.safetensors and last.safetensors, which idsnn-convert, idsnn train --teacher and idsnn evaluate read
    without being told anything of them; metrics.jsonl (a line an epoch), recipe.toml (every setting), state.safetensors
    (what --resume needs). Ctrl-C stops it so that it can be resumed; so can a run that was killed.

    An epoch of 50,000 CIFAR images takes a resnet20 three to four minutes on one core.
    """
    with unswept():
        from idsnn_convert.commands.running import run
        from idsnn_convert.runtime.recipe import load_recipe
        from idsnn_convert.teach import teach

    changes = [*options.changed(epochs, seed), *overrides]
    run(
        lambda watcher, tell: teach(arch, data, out, overrides=changes, watcher=watcher, told=tell, **choices),
        as_json,
        out / "tensorboard" if tensorboard else None,
        load_recipe(choices["recipe"], changes).run.batch_size,
    )
