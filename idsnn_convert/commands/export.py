"""``idsnn export FILE --to FORMAT``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn export run/best.safetensors --to onnx --data cifar10:DIR
  idsnn export run/best.safetensors --to onnx --form step -o chip.onnx
  idsnn export run/best.safetensors --to nir
  idsnn export run/best.safetensors --to spikingjelly -o peer
  idsnn export run/best.safetensors --to folder --licence mit \\
      --data cifar10:DIR
"""

SECTIONS = {
    "What to write": ("to", "output", "force"),
    "How": ("form", "time_steps", "opset", "folded", "licence"),
    "What to compare on": ("data", "limit", "normalisation"),
    "What the teacher is": options.TEACHER,
}


@click.command(
    "export",
    cls=Command,
    sections=SECTIONS,
    fails="a comparison failed, nothing was written",
    context_settings=SETTINGS,
    epilog=EXAMPLES,
)
@click.argument("file", type=options.PATH)
@click.option("--to", metavar="FORMAT", required=True, help="onnx, nir, pt2 (torch.export), spikingjelly or folder.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=options.PATH,
    help="Where to write; spikingjelly and folder: a folder.  [default: FILE with its ending]",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option(
    "--form",
    metavar="FORM",
    help="Of ONNX, how time is written: unrolled (T fixed), scan (a loop, T is an input), step (one step, potentials in and "
    "out).  [default: unrolled]",
)
@click.option(
    "-T", "--time-steps", type=click.IntRange(1), metavar="N", help="T to write, onnx and pt2.  [default: the checkpoint's]"
)
@click.option("--opset", type=int, metavar="N", help="Version of ONNX's operators, from 17.  [default: 18]")
@click.option(
    "--fold-bn/--keep-bn",
    "folded",
    default=None,
    help="Batch norms into their convolutions.  [default: fold; spikingjelly: keep]",
)
@click.option("--licence", metavar="NAME", help="Of the weights, for the folder's model card: mit, cc-by-4.0, ...")
@click.option("--data", metavar="SET:DIR", help=f"Compare on real test images too: {options.DATA_HELP}")
@click.option("--limit", type=click.IntRange(1), metavar="N", default=1000, show_default=True, help="How many of them.")
@options.normalisation
@options.arch
@options.input_size
@options.as_json
def command(
    file: Path,
    to: str,
    output: Path | None,
    form: str | None,
    time_steps: int | None,
    opset: int | None,
    folded: bool | None,
    licence: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Write the student or teacher in FILE in the format of others, and check it there.

    Each is loaded as its readers would and compared with the runtime: ONNX every layer by itself in onnxruntime, which must
    agree; all together, where rounding may flip a spike at its threshold, which is counted; and with --data the answers
    for real images. Where a comparison fails nothing is written and the exit code is 1.

    onnx, pt2 and spikingjelly hold the network with its weights; nir is exact or refused with what it lacks. For
    SpikingJelly, a folder is written: network.py, which builds the network of SpikingJelly's layers, and its state dict.

    folder is a folder as on the Hugging Face Hub: model.safetensors, config.json, mapping.json and a model card, in which
    --data has accuracy and energy at every number of steps.

    Reads FILE and the data; writes one file or folder. Takes seconds; with 1,000 images and a spiking resnet20 half a
    minute.
    """
    with unswept():
        from idsnn_convert.exporters import Options
        from idsnn_convert.formats import export
        from idsnn_convert.report.exports import described_export, print_export, print_stage
        from idsnn_convert.report.text import print_json

    chosen = Options(form, time_steps, opset, folded, licence)
    watch = (lambda stage: None) if as_json else print_stage
    found = export(file, to, output, chosen, watch=watch, **choices)
    print_json(described_export(found)) if as_json else print_export(found)
    if found.path is None:
        raise click.exceptions.Exit(1)
