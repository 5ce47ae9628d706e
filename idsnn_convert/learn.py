"""Evaluating and training what a file holds: the runtime's functions, joined to files and data sets by name."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from idsnn_convert import __version__, runtime
from idsnn_convert.api import open_file
from idsnn_convert.devices import device_named
from idsnn_convert.distil import Tutor, in_bytes, open_tutor, shown_images, tap_pairs, tutor_network
from idsnn_convert.identify import identified
from idsnn_convert.normalised import Normalised, asked_normalisation, decide_normalisation, usual_normalisation
from idsnn_convert.passes.types import Teacher
from idsnn_convert.printed import Printed
from idsnn_convert.runtime import native_kernels, winograd
from idsnn_convert.runtime.checkpoint import Checkpoint, read, save
from idsnn_convert.runtime.chunks import steps_at_once
from idsnn_convert.runtime.data import Dataset, open_dataset
from idsnn_convert.runtime.details import evaluate_in_detail
from idsnn_convert.runtime.distributed import joined, own_device
from idsnn_convert.runtime.eight_bit import BITS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import BATCH, Evaluation, Progress, check_fits, evaluate
from idsnn_convert.runtime.fixed_point import check_available
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import to_json
from idsnn_convert.runtime.initialise import prepared
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.measures import THRESHOLDS
from idsnn_convert.runtime.native import compiler
from idsnn_convert.runtime.network import SpikingNetwork, build
from idsnn_convert.runtime.neurons import parameter_shapes
from idsnn_convert.runtime.normalisation import Normalisation, from_json
from idsnn_convert.runtime.recipe import Recipe, load_recipe
from idsnn_convert.runtime.teacher_cache import LIMIT, TeacherCache
from idsnn_convert.runtime.trainer import TrainResult, Watcher, train
from idsnn_convert.runtime.tutors import BYTES, check_bytes

WORTH_COMPILING = 20_000
"""Images that must pass for kernels made by torch.compile to win back the seconds that takes."""

WORTH_BUILDING = 5_000
"""The same of those in C++, which take less, and that once a machine."""

WORTH_CONVOLVING = 1_000
"""Images that must pass for quick convolutions, which take a second to compile if this machine has not done so yet."""

LONG = 32
"""Of more time steps only a few are run at a time, so that memory does not grow with them."""


def evaluate_file(
    path: str | Path,
    data: str | Dataset,
    *,
    normalisation: str | None = None,
    time_steps: int | None = None,
    limit: int | None = None,
    arch: str | None = None,
    input_size: int | None = None,
    device: str = "auto",
    compiled: bool | None = None,
    early_exit: float | None = None,
    details: bool = False,
    weight_bits: int | None = None,
    progress: Progress | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> tuple[Evaluation, Normalised]:
    """Top-1, top-5 and loss of the student or teacher in a file on a data set's test images.

    Args:
        data: ``cifar10:DIR`` and the like, or a data set that is open.
        normalisation: overrides what the checkpoint says or the teacher's first batch norm tells.
        time_steps: T for a student; its own by default.
        limit: only the first so many test images.
        arch, input_size: what a teacher is, where its file cannot tell.
        device: ``auto`` is a GPU if there is one.
        compiled: fused kernels; by default where they pay.
        early_exit: a student's confidence, above 0 and up to 1, at which it may stop before T.
        details: measure the usual thresholds of it too; either gives a
            :class:`idsnn_convert.runtime.details.DetailedEvaluation`.
        weight_bits: 8 or 16 to compute a student's convolutions in integers, see :mod:`idsnn_convert.runtime.fixed_point`; 8 to
            put a teacher into 8 bits by some training images, see :mod:`idsnn_convert.runtime.eight_bit`.
        told: receives what was decided, a line each, before the work begins.

    Raises:
        UserError: if file, data and options do not go together.
    """
    opened, dataset = open_file(path, arch=arch, input_size=input_size), open_dataset(data)
    if time_steps is not None and isinstance(opened, Teacher):
        raise UserError(f"{path} is a teacher; only a spiking network has time steps")
    if early_exit is not None and isinstance(opened, Teacher):
        raise UserError(f"{path} is a teacher; only a spiking network can stop before its last time step")
    if weight_bits not in (None, BITS) and isinstance(opened, Teacher):
        raise UserError(
            f"{path} is a teacher, which runs in {BITS} bits or in float32; only spikes take weights of {weight_bits}"
        )
    split = dataset.test.first(limit)
    check_fits(opened.graph, split)
    where = device_named(device)
    if isinstance(opened, Teacher):
        known = None if normalisation is None else asked_normalisation(normalisation, dataset)
        opened, chosen = read_by(opened, dataset, known, told)
    else:
        chosen = decide_normalisation(opened, dataset, normalisation)
    for line in chosen.lines():
        told(line)
    network: nn.Module
    if isinstance(opened, Checkpoint):
        steps = time_steps or opened.time_steps
        if weight_bits is not None:
            graph, tensors = fold(opened.graph, opened.tensors)
            opened = replace(opened, graph=graph, tensors=tensors)
        fast = _compile(compiled, len(split) * steps, where, told)
        network = runtime.network(opened, time_steps=steps, device=where, compiled=fast, weight_bits=weight_bits)
        if steps > LONG:  # no more than those: torch.compile takes the longer to make kernels the more steps they have
            network.time_chunk = min(steps_at_once(network.graph, BATCH), LONG)
    elif weight_bits is not None:
        check_available(where, weight_bits)
        network = in_bytes(opened, shown_images(dataset, chosen.normalisation), told=told)
    else:
        quick = compiled is not False and len(split) >= WORTH_CONVOLVING and convolves_quickly(where, told)
        network = build(opened.graph, opened.tensors, compiled=quick)
    network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    given = (network, split, chosen.normalisation)
    more: dict[str, Any] = {"graph": opened.graph, "progress": progress}
    if not details and early_exit is None:
        return evaluate(*given, **more), chosen
    asked = () if early_exit is None else (early_exit,)
    thresholds, names = sorted({*asked, *(THRESHOLDS if details else ())}), dataset.class_names
    return evaluate_in_detail(*given, thresholds=thresholds, class_names=names, **more), chosen


def read_by(
    teacher: Teacher, dataset: Dataset, known: Normalised | None, told: Callable[[str], None]
) -> tuple[Teacher, Normalised]:
    """The teacher as its batch norms say of the data set's images, and their normalisation.

    That is the one known; else what the batch norms remember; else the data set's usual one.

    Raises:
        UserError: if the teacher cannot classify these images.
    """
    if teacher.normalisation is not None:
        known = known or Normalised(from_json(teacher.normalisation), "as the file says")
        if not teacher.assumptions:  # the file says all: there is nothing to find out
            return teacher, known
    teacher, found = identified(teacher, dataset, None if known is None else known.normalisation)
    for line in found.lines():
        told(line)
    choice = found.choice
    if known is not None:
        return teacher, known
    if choice.best is None:
        usual = usual_normalisation(dataset)
        return teacher, Normalised(usual.normalisation, f"{usual.reason}; the network has no batch norm to tell")
    # A teacher's own memory, even in doubt, says more than habit.
    doubt = "nearest to what the first batch norm remembers, but not beyond doubt; --normalisation overrides"
    reason = "the first batch norm remembers it" if choice.clear else doubt
    return teacher, Normalised(choice.best.normalisation, reason, choice.fits)


@dataclass(frozen=True, repr=False)
class Training(Printed):
    """A finished run, and what it ran with."""

    result: TrainResult
    recipe: Recipe
    normalised: Normalised

    def brief(self) -> str:
        result = self.result
        return f"best top-1 {result.best_top1:.2f} % in epoch {result.best_epoch} of {result.epochs}, {result.best}"

    def show(self) -> None:
        from idsnn_convert.report.terminal import print_training

        print_training(self.result)

    def _repr_html_(self) -> str:
        from idsnn_convert.report.notebook import training_html

        return training_html(self)


def train_file(
    student: str | Path,
    data: str | Dataset,
    out: str | Path,
    *,
    teacher: str | Path | None = None,
    recipe: str = "idsnn",
    overrides: Sequence[str] = (),
    normalisation: str | None = None,
    limit_train: int | None = None,
    limit_test: int | None = None,
    resume: bool = False,
    arch: str | None = None,
    input_size: int | None = None,
    device: str = "auto",
    compiled: bool | None = None,
    teacher_cache: str | Path | None = None,
    teacher_cache_gib: float = LIMIT / 2**30,
    watcher: Watcher | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Training:
    """Trains the spiking checkpoint ``student`` by a recipe, into the run folder ``out``.

    Args:
        teacher: the file it distills from, a spiking checkpoint among others; needed if the recipe's ``loss.alpha`` or
            ``loss.tap_weight`` is above 0.
        recipe: a shipped recipe's name or a TOML file; ``overrides`` are ``section.key=value``.
        normalisation: of the images; by default the checkpoint's, else what the teacher's first batch norm tells.
        limit_train: train on so many images only.
        limit_test: evaluate after each epoch on the first so many test images only.
        resume: go on where the run in ``out`` stopped.
        arch, input_size: what the teacher is, where its file cannot tell.
        device: ``auto`` and ``cuda`` are each process's own GPU where torchrun started several.
        teacher_cache: a folder that keeps the teacher's logits from run to run, see
            :mod:`idsnn_convert.runtime.teacher_cache`; ``teacher_cache_gib``: how large it may grow, 0 for no cache.

    Raises:
        UserError: if files, data and recipe do not go together.
        Interrupted: on SIGINT, SIGTERM or SIGHUP, when the run can be resumed.
    """
    settings, path = load_recipe(recipe, overrides), Path(student)
    if settings.loss.asks_teacher and teacher is None:
        problem = f"recipe {recipe} distills ({settings.loss.asks_teacher}), but there is no teacher"
        raise UserError(problem, hint="Name one with --teacher, or a recipe that does without: init-only, baseline.")
    start, dataset = prepared(read(path), settings), open_dataset(data).with_test(limit_test)
    check_fits(start.graph, dataset.test)
    taught = None if teacher is None else open_tutor(teacher, arch=arch, input_size=input_size)
    if taught is not None:
        check_fits(taught.graph, dataset.test)
    where = own_device(device_named(device))
    taught, chosen, theirs = _both_normalised(start, taught, dataset, normalisation, told)
    for line in chosen.lines():
        told(line)
    passes = (limit_train or len(dataset.train)) * settings.run.epochs * start.time_steps
    fuse = _compile(compiled, passes, where, told)
    if fuse and any(parameter_shapes(node.attrs) for node in start.graph.of("neuron")):
        told("kernels: neurons that learn their decay or threshold run on their own, in plain PyTorch")
    taps = tap_pairs(settings.loss, start, taught)
    if taps:
        told("compared maps, student's and teacher's: " + ", ".join(f"{tap.student} and {tap.teacher}" for tap in taps))
    shown = None
    if taught is not None and settings.loss.asks_teacher and settings.run.teacher_precision == BYTES:
        check_bytes(settings, where)
        shown = shown_images(dataset, theirs)
    asked = teacher_cache is not None and teacher_cache_gib > 0
    cache = _cache(Path(str(teacher_cache)), int(teacher_cache_gib * 2**30), taught, settings, told) if asked else None
    network = runtime.network(
        start,
        compiled=fuse,
        taps=[tap.student for tap in taps],
        pack_spikes=settings.run.pack_spikes,
        gamma=settings.loss.tap_gamma if settings.loss.tap == "gradient" else None,
    )
    with joined(where) as world:
        if world.size > 1:
            told(f"{world.size} processes share each batch of {settings.run.batch_size} images")
        result = train(
            network,
            dataset,
            settings,
            Path(out),
            normalisation=chosen.normalisation,
            save=lambda trained, place, record: _save(start, trained, place, record, chosen),
            teacher=tutor_network(taught, taps, start.time_steps, chosen.normalisation, theirs, fuse, shown, told)
            if taught
            else None,
            watcher=watcher,
            limit_train=limit_train,
            resume=resume,
            device=where,
            world=world,
            cache=cache,
        )
    return Training(result, settings, chosen)


def _both_normalised(
    start: Checkpoint, taught: Tutor | None, dataset: Dataset, override: str | None, told: Callable[[str], None]
) -> tuple[Tutor | None, Normalised, Normalisation]:
    """The teacher as its batch norms say, how the run's images are normalised, and how the teacher's were.

    Student and teacher share one normalisation where the student was made from this teacher or knows none yet; else each
    keeps its own.
    """
    if isinstance(taught, Teacher) and (start.normalisation is None or start.teacher.get("sha256") == taught.sha256):
        asked = override is not None or start.normalisation is not None
        known = decide_normalisation(start, dataset, override) if asked else None
        taught, chosen = read_by(taught, dataset, known, told)
        return taught, chosen, chosen.normalisation
    chosen = decide_normalisation(start, dataset, override)
    if taught is None:
        return None, chosen, chosen.normalisation
    if isinstance(taught, Teacher):
        taught, theirs = read_by(taught, dataset, None, told)
    else:
        theirs = decide_normalisation(taught, dataset, None)
    told(f"the teacher's images: {next(theirs.lines())}")
    return taught, chosen, theirs.normalisation


def _cache(
    folder: Path, limit: int, taught: Tutor | None, settings: Recipe, told: Callable[[str], None]
) -> TeacherCache | None:
    """Where the teacher's logits are kept; nowhere, with the reason told, if the run asks for more than logits or for none."""
    if taught is None or not settings.loss.alpha:
        reason = "the recipe asks for no logits of a teacher"
    elif settings.loss.tap_weight:
        reason = "the recipe compares feature maps, which are not kept"
    elif isinstance(taught, Checkpoint):
        reason = "a spiking teacher's logits are not kept"
    else:
        return TeacherCache(folder, json.dumps(to_json(taught.graph)), limit, told)
    told(f"teacher cache: not used; {reason}")
    return None


def _save(start: Checkpoint, trained: nn.Module, place: Path, record: dict[str, Any], chosen: Normalised) -> None:
    if not isinstance(trained, SpikingNetwork):
        raise TypeError(f"a {type(trained).__name__} is no spiking network")
    training = {**record, "made_by": made_by()}
    save(place, start.with_tensors(trained.tensors(), normalisation=chosen.normalisation.to_json(), training=training))


def made_by() -> dict[str, str]:
    """Versions of what trains, for the record."""
    return {"idsnn-convert": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _compile(asked: bool | None, images: int, device: torch.device, told: Callable[[str], None]) -> bool:
    """Whether to run on compiled kernels: as asked, else where they can be made and pay."""
    possible = can_compile(device)
    if asked and not possible:
        what = "Triton" if device.type == "cuda" else "a C++ compiler"
        raise UserError(f"compiled kernels need {what}, and none was found", hint="Leave --compile out.")
    if asked is None and possible:
        built = device.type == "cpu" and images >= WORTH_BUILDING and native_kernels.available()
        asked = built or images >= WORTH_COMPILING
    told("kernels: batch norm, residual and neuron fused and compiled" if asked else "kernels: plain PyTorch")
    if asked:
        convolves_quickly(device, told)
    return bool(asked)


def convolves_quickly(device: torch.device, told: Callable[[str], None]) -> bool:
    """Whether convolutions there run by :mod:`idsnn_convert.runtime.winograd` where they can, which is told."""
    quick = device.type == "cpu" and compiler() is not None and winograd.available()
    if quick:
        told("convolutions: where they are 3x3 in float32, by Winograd's algorithm")
    return quick
