"""What each format asks for, refuses and compares: one row of a table a format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.export.types import Stage

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Options:
    """What an export may choose; None is the format's own default. Each format refuses those it does not have."""

    form: str | None = None
    time_steps: int | None = None
    opset: int | None = None
    folded: bool | None = None
    licence: str | None = None


FLAGS = {"folded": "fold-bn", "time_steps": "time-steps"}
"""Option -> its name on the command line, where that is another."""


@dataclass(frozen=True)
class Source:
    """What is written, and the normalised images it is compared on.

    Attributes:
        spiking: it came with neurons; a teacher stands in ``checkpoint`` with its canonical graph and one time step.
        drawn: (B, C, H, W): the first real images, or random ones where there are none.
        real: all real images with their labels, in batches; empty where no data was named.
        data: name of the data set they are of; ``normalisation``: of theirs.
    """

    name: str
    checkpoint: Checkpoint
    spiking: bool
    drawn: Tensor
    real: Batches = field(default_factory=list)
    data: str | None = None
    normalisation: str = ""


@dataclass(frozen=True)
class Prepared:
    """What can be written: the comparisons to make first, each made when it is asked for, and how to write it."""

    stages: Iterator[Stage]
    write: Callable[[Path], object]


@dataclass(frozen=True)
class Format:
    """A row of :data:`FORMATS`.

    Attributes:
        ending: of the name it is written under by default.
        prepare: what compares and writes it.
        options: those of :class:`Options` it has.
        files: the names of the files, where it is a folder.
    """

    ending: str
    prepare: Callable[[Source, Options], Prepared]
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def prepared(to: str, source: Source, options: Options) -> Prepared:
    """``source`` ready to be written in the format ``to``.

    Raises:
        UserError: if the two, or the format and the options, do not go together; if a package is missing.
    """
    for each in fields(Options):
        if getattr(options, each.name) is not None and each.name not in FORMATS[to].options:
            raise _meaningless(each.name, to)
    return FORMATS[to].prepare(source, options)


def _meaningless(option: str, where: str) -> UserError:
    return UserError(f"--{FLAGS.get(option, option)} means nothing for {where}", hint="Leave it out.")


@contextmanager
def _needs(what: str, extra: str) -> Iterator[None]:
    """Turns a missing package into how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = f'pip install "idsnn-convert[{extra}]"'
        raise UserError(f"writing {what} needs {error.name}, which is not installed", hint=hint) from error


def _demand_student(source: Source, why: str) -> None:
    if not source.spiking:
        raise UserError(f"{source.name} is a teacher; {why}", hint="Convert it first.")


def _refuse_time(source: Source, options: Options) -> None:
    for option in ("form", "time_steps"):
        if not source.spiking and getattr(options, option) is not None:
            raise _meaningless(option, "a teacher, which has no time")


def _onnx(source: Source, options: Options) -> Prepared:
    with _needs("ONNX", "cpu"):
        from idsnn_convert.runtime.export.onnx import check
        from idsnn_convert.runtime.export.onnx.model import USUAL_OPSET, to_onnx
    _refuse_time(source, options)
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
    _demand_student(source, "NIR has no activations but neurons")
    written = to_nir(source.checkpoint)
    return Prepared(check.stages(written, source.checkpoint, source.drawn, source.real), lambda part: nir.write(part, written))


def _pt2(source: Source, options: Options) -> Prepared:
    from idsnn_convert.runtime.export.pt2 import check
    from idsnn_convert.runtime.export.pt2.write import to_pt2

    _refuse_time(source, options)
    folded = options.folded is not False
    given = replace(source.checkpoint, time_steps=options.time_steps or source.checkpoint.time_steps)
    content = to_pt2(given, folded=folded)
    return Prepared(check.stages(content, given, folded, source.drawn, source.real), lambda part: part.write_bytes(content))


def _spikingjelly(source: Source, options: Options) -> Prepared:
    with _needs("SpikingJelly's network", "spikingjelly"):
        import spikingjelly.activation_based.layer  # noqa: F401

        from idsnn_convert.runtime.export.spikingjelly import check
        from idsnn_convert.runtime.export.spikingjelly.write import SOURCE, STATE, to_spikingjelly
    _demand_student(source, "SpikingJelly takes it as it is")
    given = compare.folded(source.checkpoint) if options.folded else source.checkpoint
    written = to_spikingjelly(given)

    def write(folder: Path) -> None:
        (folder / SOURCE).write_text(written.source, encoding="utf-8")
        (folder / STATE).write_bytes(written.state)

    return Prepared(check.stages(written, given, source.drawn, source.real), write)


def _folder(source: Source, options: Options) -> Prepared:
    from idsnn_convert.pretrained import measured, stages, write_folder

    _demand_student(source, "the folder is a spiking network's")
    found = measured(source.checkpoint, source.real, source.normalisation) if source.real else None

    def write(folder: Path) -> None:
        write_folder(folder, source.checkpoint, licence=options.licence, measured=found, data=source.data)

    return Prepared(stages(source.checkpoint, write, found), write)


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", _onnx, ("form", "time_steps", "opset", "folded")),
    "nir": Format(".nir", _nir),
    "pt2": Format(".pt2", _pt2, ("time_steps", "folded")),
    "spikingjelly": Format("-spikingjelly", _spikingjelly, ("folded",), ("network.py", "state_dict.pt")),
    "folder": Format("-folder", _folder, ("licence",), ("README.md", "config.json", "mapping.json", "model.safetensors")),
}
"""Name on the command line -> the format."""
