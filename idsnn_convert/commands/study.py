"""``idsnn study ablation|convergence|lasnn --data SET:DIR --teacher FILE --student ARCH --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from idsnn_convert.cli import SETTINGS, Command
from idsnn_convert.commands import options
from idsnn_convert.process import unswept

EXAMPLES = """\b
Examples:
  idsnn study ablation --teacher resnet32.th --student resnet20 \\
      --data cifar10:DIR --out study
  idsnn study convergence --teacher resnet34.pth --student resnet18 \\
      --data cifar100:DIR --out study100 --scale paper
  idsnn study lasnn --teacher densenet.safetensors --teacher vgg.safetensors \\
      --student vgg5 --data cifar10:DIR --out lasnn
"""

SECTIONS = {
    "What to study": ("teachers", "student", "width", "out", "arms", "seeds"),
    "What to train on": options.DATA,
    "How large": ("scale", "limit_train", "limit_test"),
    "How to train": ("recipe", "overrides", "normalisation"),
    "How to run": ("device", "compiled", *options.CACHE),
    "What the teacher is": options.TEACHER,
}


@click.command("study", cls=Command, sections=SECTIONS, context_settings=SETTINGS, epilog=EXAMPLES)
@click.argument("study", type=click.Choice(["ablation", "convergence", "lasnn"]))
@options.data
@click.option(
    "--teacher",
    "teachers",
    type=options.PATH,
    required=True,
    multiple=True,
    metavar="FILE",
    help="The trained network. lasnn takes several: all arms have the first, activation attention each.",
)
@click.option(
    "--student",
    required=True,
    metavar="ARCH|FILE",
    help="What to convert it to, its head fresh as published; or a spiking checkpoint. For lasnn the architecture that is "
    "trained and converted: conv3-fc2, vgg5, vgg9, resnet12, ...",
)
@click.option(
    "--width", metavar="FACTOR", type=float, default=1.0, show_default=True, help="Of lasnn's student: times as many channels."
)
@click.option("--out", type=options.PATH, required=True, metavar="DIR", help="The folder of the study and its runs.")
@click.option(
    "--arms",
    metavar="A,B",
    help="Only these of neither, init, kd, both; of lasnn hybrid, label-kd, spike-kd, lasnn, lasnn-gradient.",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Runs of each kind: 0 to N-1.")
@click.option(
    "--scale",
    type=click.Choice(["small", "paper"]),
    default="small",
    show_default=True,
    help="small: 6, 2, 1 epochs of 5,000 images, 2,000 test images (lasnn: 2 of 2,000); paper: 200 epochs (100), all images.",
)
@options.limit_train
@options.limit_test
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="Of the arm 'both'; the others do without its parts.  [default: idsnn-fast if small; idsnn, with the paper's own "
    "numbers for each arm]",
)
@options.overrides
@options.normalisation
@options.arch
@options.input_size
@options.device
@options.compiled
@options.teacher_cache
@options.as_json
def command(
    study: str,
    data: Any,
    teachers: tuple[Path, ...],
    student: str,
    width: float,
    out: Path,
    arms: str | None,
    normalisation: str | None,
    arch: str | None,
    input_size: int | None,
    device: str,
    compiled: bool | None,
    teacher_cache: Path | None,
    teacher_cache_gib: float,
    recipe: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """What initialisation and distillation each add, how soon they pay, or what attention adds, with your teacher and data.

    ablation: neither, initialisation, distillation, both (Table 3 of the paper). convergence: neither, distillation
    and both over three schedules (Table 4). lasnn: a student trained and converted by threshold balancing; then hybrid
    training, label, spike and attention distillation (LaSNN, tables II and IV). Figures are means over seeds, beside the
    paper's.

    Reads the teacher and the data. Writes into DIR: STUDY.md, STUDY.json, the curves as STUDY.svg and STUDY.png (these
    need matplotlib), and a folder for each run, as idsnn train writes it; into --teacher-cache, by default DIR/teacher-cache,
    the teacher's logits, which arms and schedules of a seed share. The same command goes on where it stopped; both studies
    in one DIR share their runs.

    With a spiking resnet20 of 4 time steps and 3 seeds, the small scale takes about 1.6 hours of one core for either
    study and 2.1 for both in one DIR; study lasnn, with conv3-fc2 of half the width, some tens of minutes.
    """
    if study != "lasnn" and (len(teachers) > 1 or width != 1):
        raise click.UsageError(f"Only study lasnn takes several teachers or a width, not {study}.")
    if study == "lasnn" and recipe is not None:
        raise click.UsageError("The arms of study lasnn have recipes of their own; --set changes them all.")
    if study == "lasnn" and teacher_cache is not None:
        raise click.UsageError("The arms of study lasnn ask their teachers for different things; it has no cache of logits.")
    with unswept():
        from idsnn_convert.report.progress import tell
        from idsnn_convert.report.text import print_json
        from idsnn_convert.runtime.stop import Interrupted
        from idsnn_convert.study.lasnn.run import LasnnMaterials, run_lasnn
        from idsnn_convert.study.progress import StudyBar
        from idsnn_convert.study.run import Materials, run_study
        from idsnn_convert.study.write import told_as, write_study

    cache = (teacher_cache, teacher_cache_gib)
    given = (data, teachers[0], student, out, normalisation, arch, input_size, device, compiled, *cache)
    named = tuple(arm.strip() for arm in arms.split(",")) if arms else ()
    try:
        with StudyBar() as bar:
            more = {"arms": named, "progress": bar, "told": tell, **choices}
            if study == "lasnn":
                result = run_lasnn(LasnnMaterials(*given, others=teachers[1:], width=width), **more)
            else:
                result = run_study(study, Materials(*given), recipe=recipe, **more)
    except Interrupted as stop:
        tell(f"{stop}; the same command goes on from here")
        raise click.exceptions.Exit(stop.exit_code) from stop
    written = write_study(result, out, told=tell)
    print_json(result) if as_json else click.echo(told_as(result), nl=False)
    tell(f"Wrote {', '.join(map(str, written))}.")
