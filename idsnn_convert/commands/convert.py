"""``idsnn-convert TEACHER --target ARCH``."""

from __future__ import annotations

from pathlib import Path

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options

EXAMPLES = """\b
Examples:
  idsnn-convert resnet34.pth --target resnet18
  idsnn-convert resnet32.th --target resnet20 -T 6 -o student.safetensors
"""


@click.command("convert", cls=Command, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("teacher", type=click.Path(path_type=Path))
@click.option("--target", metavar="ARCH", required=True, help="The spiking network: resnet18, ..., same, or FILE.toml.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write.  [default: TEACHER-ARCH.safetensors]")
@click.option("-T", "--time-steps", type=click.IntRange(1), default=4, show_default=True, help="Time steps T of the network.")
@click.option(
    "--match", default="relative", show_default=True, help="Which block takes which: relative, prefix, spread, FILE.toml."
)
@click.option("--stem", default="auto", show_default=True, help="The target's stem: cifar (3x3), imagenet (7x7) or auto.")
@click.option("--downsample", default="auto", show_default=True, help="Its shortcuts that change shape: projection, pad, auto.")
@click.option("--width", type=float, default=1.0, show_default=True, help="Factor on the target's channels.")
@click.option("--block", default="spiking", show_default=True, help="Its blocks: spiking, sew-add, sew-and, sew-iand, ms.")
@click.option("--scale", default="none", show_default=True, help="Repeated channels: none (published), variance, preserve.")
@click.option("--shortcuts", default="init", show_default=True, help="Projections: init from the teacher's, or fresh.")
@click.option("--head", default="auto", show_default=True, help="Classifier: fresh (published), copy; auto: copy for 'same'.")
@click.option("--encoder", default="direct", show_default=True, help="How images become inputs over time: direct or poisson.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the tensors that stay fresh.")
@options.arch
@options.input_size
@click.option("--force", is_flag=True, help="Replace an output file that is not an untrained conversion.")
@options.as_json
def command(
    teacher: Path,
    target: str,
    output: Path | None,
    time_steps: int,
    match: str,
    stem: str,
    downsample: str,
    width: float,
    block: str,
    scale: str,
    shortcuts: str,
    head: str,
    encoder: str,
    seed: int,
    arch: str | None,
    input_size: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Initialise a spiking ResNet from the trained ResNet in the file TEACHER.

    Reads a checkpoint without running code from it, recognises the network, pairs its blocks with the target's, loops
    its tensors to the target's sizes, puts a LIF neuron in the place of every activation, checks the result, and
    writes one safetensors file. Prints where every block came from, what stayed fresh and what was not used.
    """
    from idsnn_convert.api import convert
    from idsnn_convert.passes.convert import Settings
    from idsnn_convert.report.data import described
    from idsnn_convert.report.terminal import print_conversion, print_json

    settings = Settings(
        time_steps=time_steps, encoder=encoder, match=match, scale=scale, shortcuts=shortcuts, head=head, seed=seed
    )
    written, checkpoint = convert(
        teacher,
        target,
        output,
        settings=settings,
        stem=stem,
        downsample=downsample,
        width=width,
        block=block,
        arch=arch,
        input_size=input_size,
        force=force,
    )
    if as_json:
        print_json({"file": str(written), **described(checkpoint)})
    else:
        print_conversion(checkpoint, written)
