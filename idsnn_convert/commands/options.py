"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)

arch = click.option("--arch", metavar="NAME", help="What the teacher is; a file that holds another network is refused.")
input_size = click.option(
    "--input-size",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Height and width of its images, where its file cannot tell.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout instead of text.")
DATA_HELP = "cifar10:DIR, cifar100:DIR or fashion-mnist:DIR, DIR with the official files."
data = click.option("--data", metavar="SET:DIR", required=True, help=DATA_HELP)
normalisation = click.option(
    "--normalisation",
    metavar="NAME|M/S",
    help="A known one (imagenet, cifar10, ...), or means/deviations for pixels from 0 to 1: 0.5,0.5,0.5/0.2,0.2,0.2.",
)
limit_train = click.option(
    "--limit-train", type=click.IntRange(1), metavar="N", help="Only N training images, drawn by the seed."
)
out = click.option("--out", type=PATH, required=True, metavar="RUN", help="The folder of the run.")
resume = click.option("--resume", is_flag=True, help="Go on where the run in RUN stopped, however it stopped.")
epochs = click.option("--epochs", type=click.IntRange(1), metavar="N", help="Instead of the recipe's number of epochs.")
seed = click.option("--seed", type=click.IntRange(0), metavar="N", help="Instead of the recipe's seed.")
overrides = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.1.")
device = click.option(
    "--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto takes a GPU if there is one."
)
compiled = click.option(
    "--compile/--no-compile", "compiled", default=None, help="Fused, compiled kernels.  [default: where they pay]"
)

TEACHER = ("arch", "input_size")
"""The options that say what a teacher is."""


def recipe(default: str, known: str) -> Callable[[Decorated], Decorated]:
    """``--recipe``; ``known`` tells which there are."""
    return click.option("--recipe", default=default, show_default=True, metavar="NAME|FILE", help=known)


def changed(epochs: int | None, seed: int | None) -> list[str]:
    """``--epochs`` and ``--seed`` as changes of the recipe."""
    numbers = {"run.epochs": epochs, "run.seed": seed}
    return [f"{key}={value}" for key, value in numbers.items() if value is not None]
