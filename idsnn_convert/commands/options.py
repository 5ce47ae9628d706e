"""Options that several commands share."""

from __future__ import annotations

import click

arch = click.option("--arch", metavar="NAME", help="What the teacher is, where its file cannot tell.")
input_size = click.option("--input-size", type=click.IntRange(1), metavar="PIXELS", help="Height and width of its images.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")
data = click.option(
    "--data", metavar="SET:DIR", required=True, help="cifar10:DIR, cifar100:DIR or fashion-mnist:DIR, with the official files."
)
normalisation = click.option(
    "--normalisation", metavar="NAME|M/S", help="A known normalisation, or means/deviations: 0.5,0.5,0.5/0.2,0.2,0.2."
)
device = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto: a GPU if there is one.")
compiled = click.option("--compile/--no-compile", "compiled", default=None, help="Fused kernels.  [default: where they pay]")
