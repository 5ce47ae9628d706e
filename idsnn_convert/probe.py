"""Measuring a run's best network once, for its page: one image neuron by neuron; energy, mistakes, firing; the teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idsnn_convert import __version__
from idsnn_convert.learn import evaluate_file
from idsnn_convert.measure import Energy as Measured
from idsnn_convert.measure import measure_energy
from idsnn_convert.report.png import as_base64, png
from idsnn_convert.report.probed import Answer, Energy, Firing, Image, Layer, Point, Probed, Teacher, Trace
from idsnn_convert.runtime.ann_file import read_ann
from idsnn_convert.runtime.checkpoint import Checkpoint, is_checkpoint, read
from idsnn_convert.runtime.data import Dataset, open_dataset
from idsnn_convert.runtime.details import DetailedEvaluation
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Progress
from idsnn_convert.runtime.normalisation import KNOWN, Normalisation, from_json
from idsnn_convert.runtime.probe import probe
from idsnn_convert.runtime.run_folder import RunFolder

ANSWERS = 5
"""How many classes are followed over the time steps."""
SIDE = 64
"""An image is shown with at most so many pixels in height and width; of larger ones every n-th is taken."""
DIGITS = 4


def probe_run(
    run: str | Path,
    data: str | Dataset,
    *,
    teacher: str | Path | None = None,
    image: int = 0,
    limit: int | None = 1000,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Probed:
    """Measures ``RUN/best.safetensors`` on test images.

    Args:
        data: ``cifar10:DIR`` and the like, or a data set that is open: the run's own.
        teacher: its file; measured on as many test images as the run was tested on, so that the two can be compared.
        image: index of the test image whose neurons are followed.
        limit: energy, mistakes and firing are means over the first so many test images.
        seed: draws the neurons that are shown.

    Raises:
        UserError: if the folder holds no trained network, or it, the data and the teacher do not go together.
    """
    best, dataset = RunFolder(Path(run)).best, open_dataset(data)
    if not best.is_file():
        raise UserError(f"{run} holds no trained network: {best.name} is missing", hint="Is an epoch of it finished?")
    there = len(dataset.test)
    if not 0 <= image < there:
        raise UserError(f"there is no test image {image}: {dataset.name} has {there:,}", hint=f"Take 0 to {there - 1}.")
    common: dict[str, Any] = {"limit": limit, "device": device, "progress": progress}
    found, chosen = evaluate_file(best, dataset, details=True, compiled=False, **common)
    if not isinstance(found, DetailedEvaluation):
        raise TypeError(f"a {type(found).__name__} is no evaluation in detail")
    student = read(best) if is_checkpoint(best) else None
    facts = (student or read_ann(best)).training
    energy = None if student is None else measure_energy(best, dataset, told=told, **common)
    return Probed(
        checkpoint=best.name,
        sha256=_sha256(best),
        epoch=int(facts.get("metrics", {}).get("epoch", 0)),
        data=dataset.name,
        images=found.images,
        normalisation=chosen.normalisation.name,
        seed=seed,
        time_steps=0 if student is None else student.time_steps,
        top1_percent=found.top1,
        loss=found.loss,
        class_names=list(found.class_names),
        confusion=[list(row) for row in found.confusion.counts],
        firing=[
            Firing(name=row.name, shape=list(row.shape), rate=row.rate, silent=row.silent, constant=row.constant)
            for row in found.firing
        ],
        energy=None if energy is None else _energy(energy),
        image=None if student is None else _image(student, dataset, chosen.normalisation, image, seed),
        teacher=None if teacher is None else _teacher(Path(teacher), dataset, facts, device, progress, told),
        versions={"idsnn-convert": __version__, "torch": torch.__version__},
    )


def _energy(found: Measured) -> Energy:
    layers = [
        Layer(name=layer.name, spiking=layer.spiking, density=layer.density, operations=layer.total)
        for layer in found.work.layers
    ]
    return Energy(
        images=found.work.images,
        layers=layers,
        points=[Point.model_validate(point) for point in found.points()],
        dense_macs=found.work.dense_macs,
        dense_joules=found.ann(),
    )


def _image(student: Checkpoint, dataset: Dataset, normalisation: Normalisation, index: int, seed: int) -> Image:
    """The test image at ``index``, its neurons and the most probable classes over the steps."""
    one = dataset.test.chosen(torch.tensor([index]))
    pixels, label = one.images[0].cpu(), int(one.labels[0])
    seen = probe(student, normalisation(pixels[None])[0], seed=seed)
    shares = seen.answers.softmax(-1)  # (T, K)
    best = shares[-1].topk(min(ANSWERS, shares.shape[-1])).indices.tolist()
    shown = best if label in best else [*best[:-1], label]
    names = dataset.class_names
    return Image(
        index=index,
        label=label,
        png=as_base64(picture(pixels)),
        answers=[
            Answer(label=k, name=names[k] if names else str(k), per_step=[round(share, 4) for share in shares[:, k].tolist()])
            for k in shown
        ],
        layers=[
            Trace(
                name=layer.name,
                shape=list(layer.shape),
                v_threshold=layer.v_threshold,
                rate=layer.rate,
                neurons=list(layer.neurons),
                potentials=[[float(f"{u:.{DIGITS}g}") for u in row] for row in layer.potentials],
                spikes=[list(row) for row in layer.spikes],
            )
            for layer in seen.layers
        ],
    )


def picture(image: Tensor) -> bytes:
    """An image, uint8 (C, H, W) of one or three channels, as a PNG file of at most :data:`SIDE` pixels a side."""
    every = max(1, -(-max(image.shape[1:]) // SIDE))
    small = image[:, ::every, ::every].permute(1, 2, 0)
    return png([bytes(row) for row in small.flatten(1).tolist()], len(image))


def _teacher(
    path: Path,
    dataset: Dataset,
    facts: Mapping[str, Any],
    device: str,
    progress: Progress | None,
    told: Callable[[str], None],
) -> Teacher:
    """Under the run's own normalisation: the images that the student was taught on."""
    known = from_json(facts["normalisation"])
    numbers = "/".join(",".join(map(repr, values)) for values in (known.mean, known.std))
    found, _ = evaluate_file(
        path,
        dataset,
        normalisation=known.name if KNOWN.get(known.name) == known else numbers,
        limit=facts.get("test_images"),
        device=device,
        compiled=False,
        progress=progress,
        told=told,
    )
    return Teacher(file=path.name, sha256=_sha256(path), top1_percent=found.top1, images=found.images)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
