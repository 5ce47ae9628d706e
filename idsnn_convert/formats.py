"""Writing a network in the formats of others; nothing is published before it was compared with the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from idsnn_convert.api import open_file
from idsnn_convert.learn import decide_normalisation
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import check_fits
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.files import replacing

DRAWN_IMAGES = 4
"""How many images the layers are compared on."""
BATCH = 100

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Options:
    """What an export may choose; None is the format's own default. Each format refuses those it does not have."""

    form: str | None = None
    time_steps: int | None = None
    opset: int | None = None
    folded: bool | None = None


@dataclass(frozen=True)
class Source:
    """What is written, and the normalised images it is compared on.

    Attributes:
        spiking: it came with neurons; a teacher stands in ``checkpoint`` with its canonical graph and one time step.
        drawn: (B, C, H, W): the first real images, or random ones where there are none.
        real: all real images with their labels, in batches; empty where no data was named.
    """

    name: str
    checkpoint: Checkpoint
    spiking: bool
    drawn: Tensor
    real: Batches = field(default_factory=list)


@dataclass(frozen=True)
class Prepared:
    """A file that can be written: the comparisons to make first, each made when it is asked for, and how to write it."""

    stages: Iterator[Stage]
    write: Callable[[Path], object]


@dataclass(frozen=True)
class Exported:
    """What came of an export: the file, or None where a comparison failed."""

    path: Path | None
    size: int
    stages: tuple[Stage, ...]


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
    """Writes the student or teacher in ``file`` in a format of :data:`FORMATS`.

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
    ending, prepare = FORMATS[to]
    given = Path(file)
    place = Path(f"{given.stem}{ending}") if output is None else Path(output)
    _check_place(place, given, force)
    opened = open_file(file, arch=arch, input_size=input_size)
    batches = [] if data is None else _real(opened, data, limit, normalisation)
    checkpoint = opened if isinstance(opened, Checkpoint) else Checkpoint(opened.graph, opened.tensors, 1)
    shape = (DRAWN_IMAGES, *checkpoint.graph.input_shape)
    drawn = batches[0][0][:DRAWN_IMAGES] if batches else torch.randn(shape, generator=torch.Generator().manual_seed(0))
    source = Source(str(file), checkpoint, isinstance(opened, Checkpoint), drawn, batches)
    prepared = prepare(source, options or Options())
    stages = []
    for stage in prepared.stages:
        stages.append(stage)
        watch(stage)
    if not all(stage.passed for stage in stages):
        return Exported(None, 0, tuple(stages))
    with replacing(place) as part:
        prepared.write(part)
    return Exported(place, place.stat().st_size, tuple(stages))


def _check_place(place: Path, given: Path, force: bool) -> None:
    if place.exists() and given.exists() and place.samefile(given):
        raise UserError(f"{place} is the file to export itself", hint="Give another with -o.")
    if not place.parent.is_dir():
        raise UserError(f"{place}: the folder {place.parent} does not exist")
    if place.is_dir():
        raise UserError(f"{place} is a folder", hint="Give a file with -o.")
    if place.exists() and not force:
        raise UserError(f"{place} exists", hint="Give another with -o, or --force to replace it.")


def _real(opened: Checkpoint | Teacher, data: str, limit: int | None, normalisation: str | None) -> Batches:
    """Normalised test images and labels, in batches."""
    dataset = open_dataset(data)
    split = dataset.test.first(limit)
    check_fits(opened.graph, split)
    chosen = decide_normalisation(opened, dataset, normalisation).normalisation
    return list(test_batches(split, BATCH, normalisation=chosen))


@contextmanager
def _needs(what: str, extra: str) -> Iterator[None]:
    """Turns a missing package into how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = f'pip install "idsnn-convert[{extra}]"'
        raise UserError(f"writing {what} needs {error.name}, which is not installed", hint=hint) from error


def _refuse(options: Options, to: str, *foreign: str) -> None:
    if given := [name for name in foreign if getattr(options, name) is not None]:
        flag = {"folded": "fold-bn", "time_steps": "time-steps"}.get(given[0], given[0])
        raise UserError(f"--{flag} means nothing for {to}", hint="Leave it out.")


def _onnx(source: Source, options: Options) -> Prepared:
    with _needs("ONNX", "cpu"):
        from idsnn_convert.runtime.export.onnx import check
        from idsnn_convert.runtime.export.onnx.model import USUAL_OPSET, to_onnx
    if not source.spiking:
        _refuse(options, "a teacher, which has no time", "form", "time_steps")
    checkpoint = source.checkpoint
    settings = {
        "form": options.form or ("unrolled" if source.spiking else "ann"),
        "time_steps": options.time_steps or checkpoint.time_steps,
        "opset": options.opset or USUAL_OPSET,
        "folded": options.folded is not False,
    }
    exported = check.Exported(to_onnx(checkpoint, **settings), checkpoint, **settings)  # type: ignore[arg-type]
    return Prepared(
        check.stages(exported, source.drawn, source.real), lambda part: part.write_bytes(exported.model.SerializeToString())
    )


def _nir(source: Source, options: Options) -> Prepared:
    with _needs("NIR", "nir"):
        import nir

        from idsnn_convert.runtime.export.nir import check
        from idsnn_convert.runtime.export.nir.write import to_nir
    _refuse(options, "NIR", "form", "time_steps", "opset", "folded")
    if not source.spiking:
        raise UserError(f"{source.name} is a teacher; NIR has no activations but neurons", hint="Convert it first.")
    written = to_nir(source.checkpoint)
    return Prepared(check.stages(written, source.checkpoint, source.drawn), lambda part: nir.write(part, written))


FORMATS: dict[str, tuple[str, Callable[[Source, Options], Prepared]]] = {"onnx": (".onnx", _onnx), "nir": (".nir", _nir)}
"""Name on the command line -> the file's ending, and how it is prepared."""
