"""``idsnn-convert TEACHER --target ARCH``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command, version
from idsnn_convert.commands import options
from idsnn_convert.passes.rules import RULES
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn-convert resnet34.pth --target resnet18
  idsnn-convert resnet32.th --target resnet20 -T 6 -o student.safetensors
  idsnn-convert resnet32.th --target resnet20 --report mapping.html
"""

SECTIONS = {
    "What to make": ("target", "output", "reports", "force", "time_steps", "encoder", "block", "stem", "downsample", "width"),
    "What its neurons are": ("neuron", "v_threshold", "tau", "decay", "reset", "surrogate", "surrogate_width"),
    "How its thresholds are balanced": ("balance", "steps", "images", "curve", "normalisation", "device"),
    "Where its weights come from": ("match", "scale", "shortcuts", "head", "seed"),
    "What the teacher is": (*options.TEACHER, "data"),
    "What its file may run": options.TRUST,
}


@click.command("convert", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("teacher", type=options.PATH)
@click.option(
    "--target", metavar="ARCH", required=True, help="The network to make: resnet18, resnet20, vgg9, ...; same; or FILE.toml."
)
@click.option("-o", "--output", metavar="FILE", type=options.PATH, help="Where to write.  [default: TEACHER-ARCH.safetensors]")
@click.option("--force", is_flag=True, help="Replace a file that no conversion could bring back.")
@click.option(
    "-T",
    "--time-steps",
    type=click.IntRange(1),
    metavar="N",
    help="Time steps T.  [default: a NIR file's own, with --balance those of --steps, else 4]",
)
@click.option(
    "--encoder", metavar="NAME", default="direct", show_default=True, help="From image to input over time: direct or poisson."
)
@click.option(
    "--block", metavar="KIND", default="spiking", show_default=True, help="Blocks: spiking, sew-add, sew-and, sew-iand, ms."
)
@click.option("--neuron", metavar="KIND", default="lif", show_default=True, help="lif, or if: without leak.")
@click.option("--v-threshold", type=float, metavar="V", default=0.5, show_default=True, help="Potential above which one fires.")
@click.option("--tau", type=float, metavar="STEPS", help="Membrane time constant in time steps; another way to say --decay.")
@click.option("--decay", type=float, metavar="SHARE", help="Of the potential kept a step: exp(-1/tau).  [default: 0.25; if: 1]")
@click.option("--reset", metavar="KIND", default="hard", show_default=True, help="After a spike: hard (to 0), soft (less V).")
@click.option(
    "--surrogate",
    metavar="NAME",
    default="rectangle",
    show_default=True,
    help="Its gradient: rectangle, triangle, arctan, ...",
)
@click.option("--surrogate-width", type=float, metavar="V", default=0.5, show_default=True, help="Half-width of the gradient.")
@click.option(
    "--balance",
    metavar="RULE",
    help="Of a target same with if neurons: each layer's threshold is the largest current that images of --data give it (max), "
    "or a percentile of them (percentile:99.9).",
)
@click.option(
    "--steps", type=click.IntRange(1), metavar="N", default=100, show_default=True, help="Time steps that images are shown for."
)
@click.option("--images", type=click.IntRange(1), metavar="N", default=256, show_default=True, help="Training images shown.")
@click.option(
    "--curve",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Also tell the accuracy after 1 to T steps, and without spikes, on the first N test images.",
)
@options.normalisation
@options.device
@click.option("--stem", metavar="KIND", default="auto", show_default=True, help="cifar (3x3), imagenet (7x7 and pool) or auto.")
@click.option(
    "--downsample",
    metavar="KIND",
    default="auto",
    show_default=True,
    help="Shortcuts that change shape: projection (1x1 convolution), pad (zeros), or auto: pad for resnet8 to resnet110 where "
    "the teacher has no projections either.",
)
@click.option("--width", metavar="FACTOR", type=float, default=1.0, show_default=True, help="Times as many channels.")
@click.option(
    "--match", metavar="RULE", default="relative", show_default=True, help=f"Pairs blocks: {', '.join(RULES)}, FILE.toml."
)
@click.option(
    "--scale", metavar="RULE", default="none", show_default=True, help="Of repeated channels: none, variance or preserve."
)
@click.option(
    "--shortcuts", metavar="RULE", default="init", show_default=True, help="Projections: init from the teacher's, or fresh."
)
@click.option(
    "--head", metavar="RULE", default="auto", show_default=True, help="Classifier: fresh, copy, or auto: copy for target same."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws what stays fresh, and images and spikes.")
@options.arch
@options.input_size
@options.trust
@click.option("--data", metavar="SET:DIR", help=f"Images that tell what its file cannot: {options.DATA_HELP}")
@options.reports
@options.as_json
@version
def command(
    teacher: Path,
    target: str,
    output: Path | None,
    time_steps: int | None,
    encoder: str,
    neuron: str,
    v_threshold: float,
    tau: float | None,
    decay: float | None,
    reset: str,
    surrogate: str,
    surrogate_width: float,
    match: str,
    scale: str,
    shortcuts: str,
    head: str,
    seed: int,
    balance: str | None,
    steps: int,
    images: int,
    curve: int,
    normalisation: str | None,
    device: str,
    reports: tuple[Path, ...],
    as_json: bool,
    **choices: Any,
) -> None:
    """Initialise a spiking ResNet from the trained ResNet in the file TEACHER.

    Recognises the network, pairs its blocks with the target's, loops its tensors to the target's sizes, puts a LIF
    neuron in the place of every activation, and checks the result. The defaults are the published method's.

    Reads TEACHER: a state dict (torch.save, safetensors), a saved torchvision or timm model, a TorchScript,
    torch.export or ONNX file, or timm:MODEL@FILE; or a NIR graph, whose neurons target same keeps. No code from it
    runs, unless you say so. Writes one safetensors file, and the reports that are asked for; on an error, nothing.
    Prints where every block came from, what stayed fresh and what was not used. Takes seconds; needs no data, no GPU
    and no training. What a state dict does not say (strides, activations, pools) is assumed and printed, or with
    --data told by the statistics in its batch norms: some seconds more.

    With --balance a network of ReLUs becomes one of integrate-and-fire neurons with the same weights, which needs images:
    every layer takes a pass of N images over T steps through the layers before it, minutes on a CPU.
    """
    with unswept():
        from idsnn_convert.api import convert
        from idsnn_convert.passes.convert import Settings
        from idsnn_convert.report.build import recorded
        from idsnn_convert.report.data import described
        from idsnn_convert.report.progress import counting, tell
        from idsnn_convert.report.terminal import print_conversion
        from idsnn_convert.report.text import print_json
        from idsnn_convert.report.write import check_places, write_reports
        from idsnn_convert.runtime.neurons import asked

    check_places(reports, (teacher, *filter(None, [output])))
    settings = Settings(
        time_steps=time_steps,
        encoder=encoder,
        neuron=asked(neuron, v_threshold, _decay(neuron, tau, decay), reset, surrogate, surrogate_width),
        match=match,
        scale=scale,
        shortcuts=shortcuts,
        head=head,
        seed=seed,
    )
    how = None
    if balance is not None:
        from idsnn_convert.balance import Balancing

        how = Balancing(balance, steps, images, curve, normalisation, device)
    written, checkpoint = convert(
        teacher, target, output, settings=settings, balance=how, counting=counting, told=tell, **choices
    )
    record = recorded(checkpoint, written if reports or as_json else None, as_made=True)
    write_reports(record, reports)
    if as_json:
        print_json({"file": str(written), **described(checkpoint, record)})
    else:
        print_conversion(record, written, reports)


def _decay(neuron: str, tau: float | None, decay: float | None) -> float:
    """The share of the potential that is kept from one step to the next."""
    from idsnn_convert.runtime.neurons import usual_neuron

    if tau is not None and decay is not None:
        raise click.UsageError("--tau and --decay say the same; give one.")
    if tau is not None:
        if tau <= 0:
            raise click.UsageError(f"--tau must be above 0, not {tau:g}.")
        return math.exp(-1 / tau)
    if decay is not None:
        return decay
    return usual_neuron(neuron).decay
