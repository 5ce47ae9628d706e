"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

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
device = click.option(
    "--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto takes a GPU if there is one."
)
compiled = click.option(
    "--compile/--no-compile", "compiled", default=None, help="Fused, compiled kernels.  [default: where they pay]"
)

TEACHER = ("arch", "input_size")
"""The options that say what a teacher is."""
