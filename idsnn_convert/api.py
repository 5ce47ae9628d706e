"""What the command line does, as functions: convert a teacher, look into a file.

A network that is in memory is a teacher too::

    converted(teacher_from_module(network, input_shape=(3, 32, 32)), "resnet20", Settings())
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import torch

from idsnn_convert import __version__
from idsnn_convert.cli import printable
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.convert import convert as run_passes
from idsnn_convert.passes.folded import folded
from idsnn_convert.passes.load import load_teacher, teacher_from_module
from idsnn_convert.passes.load.timm_name import is_timm_name
from idsnn_convert.passes.load.types import Trust
from idsnn_convert.passes.targets import Choices, target_for, target_label
from idsnn_convert.passes.types import Teacher
from idsnn_convert.repeat import command_of
from idsnn_convert.runtime.checkpoint import Checkpoint, description, is_checkpoint, read, save
from idsnn_convert.runtime.errors import UserError

if TYPE_CHECKING:  # what looks at images is imported where there are any
    from idsnn_convert.balance import Balancing, Counting

__all__ = [
    "Converted",
    "Settings",
    "convert",
    "converted",
    "load_teacher",
    "open_file",
    "teacher_from_module",
    "weights_file",
]


class Converted(NamedTuple):
    """What :func:`convert` gives: the written path and its content."""

    path: Path
    checkpoint: Checkpoint

    def __repr__(self) -> str:
        label, steps = self.checkpoint.mapping.get("target", "network"), self.checkpoint.time_steps
        return f"<Converted: spiking {printable(str(label))} in {printable(str(self.path))}, T = {steps}>"

    def __str__(self) -> str:
        """What the command prints, but for what was written where."""
        from idsnn_convert.report.build import recorded
        from idsnn_convert.report.terminal import print_mapping

        with redirect_stdout(io.StringIO()) as told:
            print_mapping(recorded(self.checkpoint, as_made=True))
        return told.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        """Where each block came from, for notebooks."""
        from idsnn_convert.report.build import recorded
        from idsnn_convert.report.html import compact

        return compact(recorded(self.checkpoint, self.path, as_made=True))


def convert(
    teacher: str | Path,
    target: str,
    output: str | Path | None = None,
    *,
    settings: Settings | None = None,
    stem: str = "auto",
    downsample: str = "auto",
    width: float = 1.0,
    block: str = "spiking",
    arch: str | None = None,
    input_size: int | None = None,
    data: str | None = None,
    balance: Balancing | None = None,
    allow_global: Sequence[str] = (),
    unsafe_pickle: bool = False,
    force: bool = False,
    counting: Counting | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Converted:
    """Converts the teacher in a file into a spiking checkpoint and writes it.

    Args:
        teacher: the file of the trained ResNet, or ``timm:MODEL@FILE``.
        target: name of the network to make, see :data:`idsnn_convert.passes.targets.TARGETS`; ``same`` for the teacher's own
            graph; or a TOML file that describes it, see :mod:`idsnn_convert.passes.target_file`.
        output: where to write; ``TEACHER-TARGET.safetensors`` in the current folder by default.
        stem: the target's stem: ``auto``, ``cifar`` or ``imagenet``.
        downsample: how the target's shortcuts change shape: ``projection``, ``pad``, or ``auto``, see
            :func:`idsnn_convert.passes.targets.choose_downsample`.
        width: factor on the target's channels.
        block: its residual blocks: ``spiking``, ``sew-add``, ``sew-and``, ``sew-iand`` or ``ms``.
        arch, input_size: what the teacher is, where its file cannot tell.
        data: ``cifar10:DIR`` and the like: images by which to tell which network the teacher's tensors are those of, see
            :func:`idsnn_convert.identify.identified`. Without any the likeliest by names and shapes is taken.
        balance: set each layer's threshold by the currents that images of ``data`` give it, see :mod:`idsnn_convert.balance`;
            for target ``same``. Batch norms are folded first; T is that of the calibration unless ``settings`` say one.
        counting, told: show how far that is, and what was decided.
        allow_global: dotted names that the teacher's file may call; its owner vouches for them.
        unsafe_pickle: it may call anything. Code in it runs then; the checkpoint's provenance tells so.
        force: replace ``output`` even if it is something else than an untrained conversion.

    Raises:
        UserError: on any file, name or setting that cannot be used; nothing is written then.
    """
    if balance is not None:
        from idsnn_convert.balance import balanced, check_balancing

        check_balancing(balance, target, data)
    label = target_label(target)
    path = weights_file(teacher)
    place = Path(f"{path.stem}-{label}.safetensors") if output is None else Path(output)
    _check_place(place, path, force)
    dataset = None
    if data is not None:
        from idsnn_convert.identify import identified
        from idsnn_convert.runtime.data import open_dataset

        dataset = open_dataset(data)
    trust = Trust(tuple(allow_global), unsafe_pickle)
    loaded = load_teacher(teacher, arch=arch, input_size=input_size, trust=trust)
    if dataset is not None and (balance is None or loaded.assumptions):
        loaded, _ = identified(loaded, dataset)
    choices: Choices = {"stem": stem, "downsample": downsample, "width": width, "block": block}
    chosen = settings or Settings()
    given = {**choices, "arch": arch, "input_size": input_size, "data": data}
    given |= {"allow_global": trust.names, "unsafe_pickle": unsafe_pickle}
    command = command_of(teacher, target, chosen, given, balance)
    if balance is not None:
        loaded, chosen = folded(loaded), replace(chosen, time_steps=chosen.time_steps or balance.steps)
    checkpoint = converted(loaded, target, chosen, command, **choices)
    if balance is not None and dataset is not None:
        shown: dict[str, Any] = {} if counting is None else {"counting": counting}
        checkpoint = balanced(checkpoint, loaded, dataset, balance, seed=chosen.seed, told=told, **shown)
    save(place, checkpoint)
    return Converted(place, checkpoint)


def converted(
    teacher: Teacher, target: str, settings: Settings, command: str | None = None, **choices: Unpack[Choices]
) -> Checkpoint:
    """The spiking checkpoint that :func:`convert` writes, without writing it.

    Args:
        command: the command that does this again, for the record; None if there is none.

    Raises:
        UserError: as :func:`convert`.
    """
    versions = {"idsnn-convert": __version__, "torch": torch.__version__}
    provenance: dict[str, Any] = {"converter": "idsnn-convert", "versions": versions, "command": command}
    if teacher.trusted:
        provenance["trusted"] = list(teacher.trusted)
    return run_passes(teacher, target_for(teacher, target, **choices), settings, provenance).checkpoint


def weights_file(teacher: str | Path) -> Path:
    """The file a teacher's weights are in: FILE of ``timm:MODEL@FILE``."""
    return Path(str(teacher).rpartition("@")[2] if is_timm_name(teacher) else teacher)


def _check_place(place: Path, teacher: Path, force: bool) -> None:
    """Refuses to overwrite what a conversion cannot bring back."""
    if place.exists() and teacher.exists() and place.samefile(teacher):
        raise UserError(f"{place} is the teacher itself", hint="Give another file with -o.")
    if not place.parent.is_dir():
        raise UserError(f"{place}: the folder {place.parent} does not exist")
    if place.is_dir():
        raise UserError(f"{place} is a folder", hint="Give a file with -o.")
    if not place.exists() or force:
        return
    if not is_checkpoint(place):
        raise UserError(f"{place} exists and is no spiking checkpoint", hint="Give another file with -o, or --force.")
    if description(place).training:
        raise UserError(f"{place} exists and has been trained", hint="Give another file with -o, or --force.")


def open_file(path: str | Path, *, arch: str | None = None, input_size: int | None = None) -> Checkpoint | Teacher:
    """The spiking checkpoint or the teacher in a file, told apart by content.

    Raises:
        UserError: if it is neither.
    """
    if is_checkpoint(Path(path)):
        return read(Path(path))
    return load_teacher(path, arch=arch, input_size=input_size)
