"""What keeps a teacher from converting, what to be careful of, and whether its batch norms agree with its data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from idsnn_convert.api import converted
from idsnn_convert.passes.builder import RefusedError
from idsnn_convert.passes.cautions import Caution
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.load.detect import detect
from idsnn_convert.passes.load.timm_name import is_timm_name
from idsnn_convert.passes.resnet.archs import ARCHS, find_arch
from idsnn_convert.passes.targets import SAME, target_label
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.data import Split, open_dataset
from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import check_fits
from idsnn_convert.runtime.fingerprint import LayerFit, NormalisationChoice, batch_norm_fit, choose_normalisation
from idsnn_convert.runtime.recipe import Augment

IMAGES = 500
"""Images the batch norms are held against."""

MOST_VARIANCE, MOST_SHIFT = 0.15, 0.1
"""A batch norm disagrees if its variances or means are further off, see :class:`LayerFit`.

Measured on four CIFAR teachers with 500 images: up to 0.06 and 0.02 in every layer; from 0.38 and 0.2 in the first layer
that another one than its author's activation precedes; 0.18 and 0.07 in the first under the next normalisation.
"""

TRIAL = "resnet18"
"""The target tried where none is named and the teacher's own structure is no target."""


@dataclass(frozen=True)
class Memory:
    """What a teacher's batch norms say of a data set.

    Attributes:
        layers: every batch norm, in graph order, under the best normalisation; empty if none is to be told.
    """

    choice: NormalisationChoice
    layers: tuple[LayerFit, ...]

    @property
    def first_wrong(self) -> LayerFit | None:
        """The first batch norm that disagrees: where the network departs from the one that was trained."""
        return next((fit for fit in self.layers if disagrees(fit)), None)


@dataclass(frozen=True)
class Problem:
    """One reason why a conversion would fail; node and source (``resnet.py:93``) where it is one of a single node."""

    reason: str
    advice: str = ""
    node: str = ""
    source: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about one teacher.

    Attributes:
        target: the network a conversion was tried to.
        teacher: None if it could not be loaded.
        checkpoint: what the conversion would write; None if it would not.
        problems: what keeps it from converting; none exactly if ``checkpoint`` is there.
        cautions: what converts, but not to the letter.
        memory: None if no data was given, or the teacher could not be loaded.
    """

    target: str
    teacher: Teacher | None
    checkpoint: Checkpoint | None
    problems: tuple[Problem, ...] = ()
    cautions: tuple[Caution, ...] = ()
    memory: Memory | None = None


def disagrees(fit: LayerFit) -> bool:
    return fit.variance_log_ratio > MOST_VARIANCE or fit.mean_shift > MOST_SHIFT


def examine(
    teacher: str | Path,
    *,
    target: str | None = None,
    data: str | None = None,
    arch: str | None = None,
    input_size: int | None = None,
) -> Diagnosis:
    """Loads the teacher in a file and tries its conversion; writes nothing.

    Args:
        target: the network to try; by default the teacher's own structure, or :data:`TRIAL`.
        data: ``cifar10:DIR`` and the like, to hold its batch norms against.
        arch, input_size: what the teacher is, where its file cannot tell.

    Raises:
        UserError: if the file is not there, the target or data set unknown, or the data not such as the teacher takes.
            What is wrong with the teacher itself is in the diagnosis.
    """
    if target is not None:
        target_label(target)
    if arch is not None:
        find_arch(arch, "architecture")
    if not is_timm_name(teacher):
        detect(Path(teacher))
    images = None if data is None else open_dataset(data).test
    try:
        loaded = load_teacher(teacher, arch=arch, input_size=input_size)
    except UserError as error:
        return Diagnosis(target or TRIAL, None, None, tuple(_problems(error)))
    memory = None if images is None else _memory(loaded, images)
    tried = target or (loaded.arch if loaded.arch in ARCHS else TRIAL)
    try:
        checkpoint = converted(loaded, tried, Settings())
    except UserError as error:
        return Diagnosis(tried, loaded, None, tuple(_problems(error)), _as_it_is(loaded, tried), memory)
    careful = tuple(Caution(**row) for row in checkpoint.mapping["cautions"])
    return Diagnosis(tried, loaded, checkpoint, cautions=careful, memory=memory)


def _as_it_is(teacher: Teacher, tried: str) -> tuple[Caution, ...]:
    """That its own graph would convert, if it does."""
    try:
        converted(teacher, SAME, Settings())
    except UserError:
        return ()
    return () if tried == SAME else (Caution("its own graph converts, node by node", advice=f"Take --target {SAME}."),)


def _problems(error: UserError) -> Iterator[Problem]:
    """Each call that was refused, if that is what the error is about; else the error itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RefusedError):
            yield from (Problem(each.reason, each.advice, each.node, each.source) for each in cause.refusals)
            return
        cause = cause.__cause__
    yield Problem(error.problem, error.hint or "")


@torch.inference_mode()
def _memory(teacher: Teacher, images: Split) -> Memory:
    """The test images serve: a batch norm's statistics are those of any images of the kind."""
    check_fits(teacher.graph, images)
    choice = choose_normalisation(teacher.graph, teacher.tensors, images)
    if choice.best is None:
        return Memory(choice, ())
    best, sample = choice.best, images.sample(IMAGES, seed=0)
    augment = Augment(crop_padding=best.crop_padding)
    batches = train_batches(sample, len(sample), seed=0, epoch=0, normalisation=best.normalisation, augment=augment)
    cropped = torch.cat([batch for batch, _ in batches])
    return Memory(choice, batch_norm_fit(teacher.graph, teacher.tensors, cropped))
