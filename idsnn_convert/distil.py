"""The teacher of a run: any file with a network in it, spiking or not, and where its maps are compared with the student's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from idsnn_convert import runtime
from idsnn_convert.passes.levels import level_pairs
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import Checkpoint, is_checkpoint, read
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.data.types import Dataset
from idsnn_convert.runtime.eight_bit import BITS, EightBit, in_eight_bits
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import convolutions
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import Normalisation
from idsnn_convert.runtime.recipe import Loss
from idsnn_convert.runtime.taps import TapPair, named_taps, read_taps
from idsnn_convert.runtime.tutors import Renormalised, SpikingTutor

Tutor = Teacher | Checkpoint
"""What a student may learn from."""

SHOWN = 256
"""Training images that a teacher is put into 8 bits by."""


def open_tutor(path: str | Path, *, arch: str | None = None, input_size: int | None = None) -> Tutor:
    """The network in a file: a spiking checkpoint (Kushawaha et al. 2021), or whatever
    :func:`idsnn_convert.passes.load.load_teacher` reads.

    Raises:
        UserError: if it holds neither, or ``arch`` or ``input_size`` are said of a checkpoint, which knows them.
    """
    if not is_checkpoint(Path(path)):
        return load_teacher(path, arch=arch, input_size=input_size)
    if arch is not None or input_size is not None:
        raise UserError(f"{path} is a spiking checkpoint, which says what it is", hint="Leave out --arch and --input-size.")
    return read(Path(path))


def tap_pairs(loss: Loss, start: Checkpoint, tutor: Tutor | None) -> tuple[TapPair, ...]:
    """Where student and teacher are compared by ``loss``; nowhere if it does not ask.

    Raises:
        UserError: if their graphs have no such places, or the loss asks gradients of a spiking teacher.
    """
    if tutor is None or not loss.tap_weight:
        return ()
    if loss.tap == "gradient" and isinstance(tutor, Checkpoint):
        problem = "loss.tap=gradient asks the teacher for gradients, which a spiking one has not"
        raise UserError(problem, hint="Set loss.tap=attention, or name a teacher without spikes.")
    if loss.taps == "recorded":
        mapping = start.mapping
    else:
        rows = level_pairs(start.graph, tutor.graph) if loss.taps == "levels" else named_taps(loss.taps)
        mapping = {"taps": rows}
    if loss.tap == "gradient":
        _demand_spikes(mapping, start)
    return read_taps(mapping, start.graph, tutor.graph, loss.tap)


def _demand_spikes(mapping: object, start: Checkpoint) -> None:
    """Spike activation maps are made of spikes."""
    rows = mapping.get("taps") if isinstance(mapping, dict) else None
    for row in rows if isinstance(rows, list) else ():
        node = start.graph.by_name.get(str(row.get("student"))) if isinstance(row, dict) else None
        if node is not None and node.op != "neuron":
            raise UserError(f"loss.tap=gradient needs spikes, and {node.name!r} is no neuron", hint="Set loss.taps=levels.")


def tutor_network(
    tutor: Tutor,
    taps: tuple[TapPair, ...],
    time_steps: int,
    given: Normalisation,
    own: Normalisation,
    compiled: bool = False,
    shown: Tensor | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> nn.Module:
    """The teacher as :class:`idsnn_convert.runtime.objective.Objective` asks it, its batch norms folded.

    Args:
        time_steps: how many a spiking teacher takes: as many as the student.
        given, own: how the run's images are normalised, and the teacher's.
        compiled: a spiking teacher on compiled kernels, 3x3 convolutions of any by :mod:`idsnn_convert.runtime.winograd`.
        shown: images as the teacher is given them, to put it into 8 bits by.
        told: receives what became of it then.

    Raises:
        UserError: if it cannot be put into 8 bits.
    """
    names = [tap.teacher for tap in taps]
    graph, tensors = folded(tutor, names)
    network: nn.Module
    if isinstance(tutor, Checkpoint):
        made = replace(tutor, graph=graph, tensors=tensors)
        bits = None if shown is None else BITS
        if bits and not convolutions(graph):
            problem = "none of the spiking teacher's convolutions reads spikes alone, which are what 8 bits are for"
            raise UserError(problem, hint="Set run.teacher_precision=same.")
        network = SpikingTutor(runtime.network(made, time_steps=time_steps, compiled=compiled, taps=names, weight_bits=bits))
    elif shown is None:
        network = build(graph, tensors, taps=names, compiled=compiled)
    else:
        network = in_bytes(tutor, shown, names, told)
    return network if (given.mean, given.std) == (own.mean, own.std) else Renormalised(network, given, own)


def folded(tutor: Tutor, taps: Sequence[str] = ()) -> tuple[Graph, Mapping[str, Tensor]]:
    """Its graph and tensors without batch norms, unless one of ``taps`` asks for a value that there would not be then."""
    if any(tutor.graph[name].op in ("conv2d", "batch_norm") for name in taps):
        return tutor.graph, tutor.tensors
    return fold(tutor.graph, tutor.tensors)


def in_bytes(
    teacher: Teacher, shown: Tensor, taps: Sequence[str] = (), told: Callable[[str], None] = lambda line: None
) -> EightBit:
    """The teacher in 8 bits, and what that did to it, told.

    Raises:
        UserError: see :func:`idsnn_convert.runtime.eight_bit.in_eight_bits`.
    """
    made = in_eight_bits(*folded(teacher, taps), shown, taps)
    told(f"teacher: {made.brief()}")
    return made


def shown_images(dataset: Dataset, own: Normalisation) -> Tensor:
    """Training images, without augmentation, normalised as the teacher wants them: the same ones every time.

    Raises:
        UserError: if the data set has none.
    """
    try:
        split = dataset.train.sample(SHOWN, 0)
    except UserError as error:
        raise UserError(f"a teacher is put into 8 bits by training images, and {error.problem}", hint=error.hint) from error
    return torch.cat([images for images, _ in test_batches(split, SHOWN, normalisation=own)])
