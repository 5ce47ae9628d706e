"""Writing a network in the formats of others; nothing is published before it was compared with the runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from idsnn_convert.api import open_file
from idsnn_convert.exporters import FORMATS, Batches, Format, Options, Source, prepared
from idsnn_convert.normalised import decide_normalisation
from idsnn_convert.passes.types import Teacher
from idsnn_convert.printed import Printed
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import check_fits
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.files import replacing, replacing_folder

DRAWN_IMAGES = 4
"""How many images the layers are compared on."""
BATCH = 100


@dataclass(frozen=True, repr=False)
class Exported(Printed):
    """What came of an export: the file or folder, or None where a comparison failed; its size in bytes."""

    path: Path | None
    size: int
    stages: tuple[Stage, ...]

    def brief(self) -> str:
        passed = sum(stage.passed for stage in self.stages)
        written = "nothing written" if self.path is None else f"{self.path}, {self.size:,} bytes"
        return f"{written}; {passed} of {len(self.stages)} comparisons passed"

    def show(self) -> None:
        from idsnn_convert.report.exports import print_export, print_stage

        for stage in self.stages:
            print_stage(stage)
        print_export(self)

    def _repr_html_(self) -> str:
        from idsnn_convert.report.notebook import export_html

        return export_html(self)


def export(
    file: str | Path,
    to: str,
    output: str | Path | None = None,
    options: Options | None = None,
    *,
    data: str | None = None,
    limit: int | None = 1000,
    normalisation: str | None = None,
    arch: str | None = None,
    input_size: int | None = None,
    force: bool = False,
    watch: Callable[[Stage], None] = lambda stage: None,
) -> Exported:
    """Writes the student or teacher in ``file`` in a format of :data:`idsnn_convert.exporters.FORMATS`.

    Args:
        output: where to write; ``FILE`` with the format's ending in the current folder by default.
        data: ``cifar10:DIR`` and the like: also compare on real test images, the first ``limit`` of them.
        watch: told of each comparison when it is done.

    Raises:
        UserError: if file, format and options do not go together, the format's packages are missing, or the place
            cannot be written.
    """
    if to not in FORMATS:
        raise UserError(f"unknown format {to!r}", hint=f"Known: {', '.join(FORMATS)}.")
    form = FORMATS[to]
    given = Path(file)
    place = Path(f"{given.stem}{form.ending}") if output is None else Path(output)
    _check_place(place, given, force, form)
    opened = open_file(file, arch=arch, input_size=input_size)
    batches, images = ([], None) if data is None else _real(opened, data, limit, normalisation)
    checkpoint = opened if isinstance(opened, Checkpoint) else Checkpoint(opened.graph, opened.tensors, 1)
    shape = (DRAWN_IMAGES, *checkpoint.graph.input_shape)
    drawn = batches[0][0][:DRAWN_IMAGES] if batches else torch.randn(shape, generator=torch.Generator().manual_seed(0))
    source = Source(str(file), checkpoint, isinstance(opened, Checkpoint), drawn, batches, *(images or ()))
    ready = prepared(to, source, options or Options())
    stages = []
    for stage in ready.stages:
        stages.append(stage)
        watch(stage)
    if not all(stage.passed for stage in stages):
        return Exported(None, 0, tuple(stages))
    with (replacing_folder if form.files else replacing)(place) as part:
        ready.write(part)
    size = sum(path.stat().st_size for path in (place.iterdir() if form.files else [place]))
    return Exported(place, size, tuple(stages))


def _check_place(place: Path, given: Path, force: bool, form: Format) -> None:
    if place.exists() and given.exists() and place.samefile(given):
        raise UserError(f"{place} is the file to export itself", hint="Give another with -o.")
    if not place.parent.is_dir():
        raise UserError(f"{place}: the folder {place.parent} does not exist")
    if place.is_dir() and not form.files:
        raise UserError(f"{place} is a folder", hint="Give a file with -o.")
    if place.exists() and not place.is_dir() and form.files:
        raise UserError(f"{place} is a file, and a folder is written", hint="Give another with -o.")
    if place.exists() and not force:
        raise UserError(f"{place} exists", hint="Give another with -o, or --force to replace it.")
    if place.is_dir() and (foreign := sorted(path.name for path in place.iterdir() if path.name not in form.files)):
        raise UserError(f"{place} holds {foreign[0]}, which no export wrote", hint="Give another folder with -o.")


def _real(
    opened: Checkpoint | Teacher, data: str, limit: int | None, normalisation: str | None
) -> tuple[Batches, tuple[str, str]]:
    """Normalised test images and labels, in batches; the names of the data set and of the normalisation."""
    dataset = open_dataset(data)
    split = dataset.test.first(limit)
    check_fits(opened.graph, split)
    chosen = decide_normalisation(opened, dataset, normalisation).normalisation
    return list(test_batches(split, BATCH, normalisation=chosen)), (dataset.name, chosen.name)
