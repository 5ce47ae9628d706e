"""A conversion whose thresholds are balanced on a data set's images, and how its accuracy grows with the time steps.

The second of LaSNN's three stages (Hong et al. 2023, section III-D); the computation is :mod:`idsnn_convert.runtime.balance`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from idsnn_convert import runtime
from idsnn_convert.devices import device_named
from idsnn_convert.normalised import Normalised, asked_normalisation, usual_normalisation
from idsnn_convert.passes.cautions import Caution
from idsnn_convert.passes.mapping import digest
from idsnn_convert.passes.targets import SAME
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.balance import Balanced, Calibration, balance
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.chunks import steps_at_once
from idsnn_convert.runtime.data import Dataset, Split
from idsnn_convert.runtime.data.batches import in_order, test_batches
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Progress, check_fits, evaluate
from idsnn_convert.runtime.measures import telling_steps
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import from_json
from idsnn_convert.runtime.readout import Readout

BATCH = 32
"""Calibration images at a time."""
CURVE_BATCH = 100
"""Test images at a time."""
USUAL_PERCENTILE = 99.9


class Counting(Protocol):
    """Gives what is told (done, of) while it lasts: :func:`idsnn_convert.report.progress.counting`."""

    def __call__(self, what: str) -> AbstractContextManager[Progress]: ...


@dataclass(frozen=True)
class Balancing:
    """How thresholds are balanced; recorded in the checkpoint.

    Attributes:
        rule: ``max``, ``percentile`` (the 99.9th) or ``percentile:P``, see :class:`idsnn_convert.runtime.balance.Calibration`.
        steps: T of the calibration.
        images: training images, drawn by the conversion's seed.
        curve: on so many test images the accuracies of network and student are measured; 0 for none.
        normalisation: a name or numbers; by default the file's, else the data set's usual one.
    """

    rule: str = "max"
    steps: int = 100
    images: int = 256
    curve: int = 0
    normalisation: str | None = None
    device: str = "auto"

    @property
    def percentile(self) -> float:
        """100 for ``max``. Raises UserError if the rule is none."""
        word, colon, number = self.rule.partition(":")
        if self.rule == "max":
            return 100.0
        try:
            if word == "percentile":
                return float(number) if colon else USUAL_PERCENTILE
        except ValueError:
            pass
        raise UserError(f"unknown rule {self.rule!r} of balancing", hint="Known: max, percentile, percentile:99.5.")


def check_balancing(asked: Balancing, target: str, data: object) -> None:
    """Refuses what cannot be balanced before anything is read.

    Raises:
        UserError: naming the option at fault.
    """
    _ = asked.percentile
    for what, value, least in (("steps", asked.steps, 1), ("images", asked.images, 1), ("curve", asked.curve, 0)):
        if value < least:
            raise UserError(f"balancing: {what} must be at least {least}, not {value}")
    if target != SAME:
        problem = f"thresholds are balanced for weights that stay as they are, but the target is {target}"
        raise UserError(
            problem, hint=f"Take --target {SAME} of a network trained without spikes: idsnn teach --arch vgg5, say."
        )
    if data is None:
        raise UserError("thresholds are balanced on images, but there is no data set", hint="Give one: --data cifar10:DIR.")


def balanced(
    checkpoint: Checkpoint,
    teacher: Teacher,
    dataset: Dataset,
    asked: Balancing,
    *,
    seed: int,
    counting: Counting = lambda what: nullcontext(lambda done, of: None),
    told: Callable[[str], None] = lambda line: None,
) -> Checkpoint:
    """``checkpoint``, the conversion of ``teacher`` to itself, with balanced thresholds and a readout without leak.

    Args:
        seed: draws the images and a Poisson encoder's spikes.
        counting: shows how far each part of the work is.

    Raises:
        UserError: if images and network do not go together, or the network cannot be balanced.
    """
    device, chosen = device_named(asked.device), _normalised(checkpoint, dataset, asked)
    split = dataset.train.sample(asked.images, seed)
    check_fits(checkpoint.graph, split)
    for line in chosen.lines():
        told(line)

    def batches() -> Iterator[Tensor]:
        return (images for images, _ in test_batches(split, BATCH, normalisation=chosen.normalisation))

    calibration = Calibration(batches, len(split), asked.steps, checkpoint.encoder, asked.percentile, seed, device)
    with counting("balancing") as progress:
        found = balance(checkpoint.graph, checkpoint.tensors, calibration, progress)
    cautions = _cautions(found, batches() if checkpoint.encoder == "poisson" else iter(()))
    made = replace(
        checkpoint,
        graph=found.graph,
        tensors=found.tensors,
        readout=Readout("membrane"),
        normalisation=chosen.normalisation.to_json(),
    )
    record = {
        **{key: value for key, value in asdict(asked).items() if key not in ("curve", "normalisation", "device")},
        "encoder": checkpoint.encoder,
        "seed": seed,
        "data": dataset.name,
        "images": len(split),
        "images_sha256": _digest(split),
        "thresholds": [
            {"neuron": name, "v_threshold": value, "unit": found.units[name]} for name, value in found.thresholds.items()
        ],
        "scaled": list(found.scaled),
        "curve": None,
    }
    if asked.curve:
        record["curve"] = curve(made, teacher, dataset.test.first(asked.curve), device, seed, counting)
    return replace(made, mapping=_mapping(checkpoint.mapping, found, cautions, record))


def curve(
    student: Checkpoint, teacher: Teacher, split: Split, device: torch.device, seed: int, counting: Counting
) -> dict[str, Any]:
    """Top-1 in percent on ``split``: the network's without spikes, the student's after each of the telling steps up to T."""
    if student.normalisation is None:
        raise ValueError("the student's normalisation is not known")
    normalisation, network = from_json(student.normalisation), runtime.network(student, device=device)
    network.time_chunk = steps_at_once(student.graph, CURVE_BATCH)
    ann = evaluate(build(teacher.graph, teacher.tensors, device), split, normalisation, graph=teacher.graph)
    with counting("measuring") as progress:
        snn = evaluate(network, split, normalisation, batch_size=CURVE_BATCH, progress=progress, seed=seed)
    steps = telling_steps(student.time_steps)
    told = [snn.top1_per_step[step - 1] for step in steps]
    return {"images": len(split), "ann_top1": ann.top1, "steps": list(steps), "top1": told}


def _normalised(checkpoint: Checkpoint, dataset: Dataset, asked: Balancing) -> Normalised:
    if asked.normalisation is not None:
        return asked_normalisation(asked.normalisation, dataset)
    if checkpoint.normalisation is not None:
        return Normalised(from_json(checkpoint.normalisation), "as the file says")
    return usual_normalisation(dataset)


def _cautions(found: Balanced, encoded: Iterator[Tensor]) -> list[Caution]:
    """``encoded``: the images that became Poisson spikes."""
    told = []
    if found.scaled:
        reason = f"{len(found.scaled)} biases became constant currents, divided by the unit of what is added to them"
        told.append(Caution(reason, advice="Networks without biases convert as they are."))
    if factors := found.graph.of("scale"):
        first = factors[0].inputs[0]
        reason = f"{len(factors)} paths are multiplied by a constant where they meet one of a larger unit: {first} first"
        told.append(Caution(reason, factors[0].name))
    counts = [(int((images.abs() > 1).sum()), images.numel()) for images in encoded]
    beyond, values = (sum(numbers) for numbers in zip(*counts, strict=True)) if counts else (0, 1)
    if beyond:
        reason = f"{100 * beyond / values:.1f} % of the pixels are beyond 1, where a Poisson spike train says no more than 1"
        told.append(Caution(reason, advice="Train the network with --normalisation half, or take direct encoding."))
    return told


def _digest(split: Split) -> str:
    """sha256 of the images' bytes, in their order."""
    found = hashlib.sha256()
    for images in split.gather(in_order(split)):
        found.update(images.cpu().contiguous().numpy().data)
    return found.hexdigest()


def _mapping(mapping: Mapping[str, Any], found: Balanced, cautions: list[Caution], record: Mapping[str, Any]) -> dict[str, Any]:
    """The conversion's, brought up to date: the scaled biases' digests, the cautions, the record of the balancing."""
    rows = [
        {**row, "sha256": digest(found.tensors[row["target"]])} if row["target"] in found.scaled else row
        for row in mapping["tensors"]
    ]
    told = [*mapping["cautions"], *(asdict(caution) for caution in cautions)]
    return {**mapping, "tensors": rows, "cautions": told, "balance": dict(record)}
