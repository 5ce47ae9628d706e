"""Runs the LaSNN study: what is finished is kept, what was interrupted goes on, what is missing is made."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.api import converted, weights_file
from idsnn_convert.balance import Balancing, balanced
from idsnn_convert.devices import device_named
from idsnn_convert.learn import evaluate_file, train_file
from idsnn_convert.machine import machine
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.folded import folded
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.targets import SAME
from idsnn_convert.runtime.checkpoint import save
from idsnn_convert.runtime.details import DetailedEvaluation
from idsnn_convert.runtime.distributed import started_together
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation, check_fits
from idsnn_convert.runtime.files import write_text
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.study.lasnn.memory import step_bytes
from idsnn_convert.study.lasnn.plan import ALONE, ANN, GRADIENT, HYBRID, ITSELF, LASNN, SCALES, Scale, planned, settings_of
from idsnn_convert.study.lasnn.summary import summarised
from idsnn_convert.study.outcome import FINAL, Outcome, final, outcome, records
from idsnn_convert.study.plan import Job
from idsnn_convert.study.run import Materials, Progress, claim, once
from idsnn_convert.teach import teach

Told = Callable[[str], None]
NORMALISATION = "half"
"""Pixels from -1 to 1, as the paper's Poisson encoder needs them."""


@dataclass(frozen=True)
class LasnnMaterials(Materials):
    """``student`` is the name of an architecture of the paper's kind; ``teacher`` the main teacher.

    Attributes:
        others: more teachers, for activation attention alone.
        width: factor on the student's channels.
    """

    others: tuple[Path, ...] = ()
    width: float = 1.0


@dataclass(frozen=True)
class _Teacher:
    """A teacher's file, and what the user says of it."""

    path: Path
    sha256: str
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Study:
    """What all steps of one study need; ``teachers`` by their names, ``time_steps`` and ``encoder`` those of every arm."""

    materials: LasnnMaterials
    size: Scale
    teachers: Mapping[str, _Teacher]
    time_steps: int
    encoder: str
    told: Told

    def folder(self, job: Job) -> Path:
        return self.materials.out / "runs" / job.folder

    def converted(self, seed: int) -> Path:
        """The student that the arms of ``seed`` start from."""
        return self.materials.out / "students" / f"seed-{seed}.safetensors"

    def figures(self, seed: int) -> Path:
        """Of that student, before any arm trains it."""
        return self.converted(seed).with_suffix(".json")

    def device(self) -> torch.device:
        return device_named(self.materials.device)

    def run_options(self) -> dict[str, Any]:
        return {"device": self.materials.device, "compiled": self.materials.compiled}


def run_lasnn(
    materials: LasnnMaterials,
    *,
    scale: str = "small",
    overrides: Sequence[str] = (),
    arms: Sequence[str] = (),
    seeds: int = 3,
    limit_train: int | None = None,
    limit_test: int | None = None,
    progress: Progress,
    told: Told = lambda line: None,
) -> dict[str, Any]:
    """Makes what is not made yet, and gives all figures of the study as JSON-native values.

    Args:
        scale: a key of :data:`idsnn_convert.study.lasnn.plan.SCALES`; limits default to the scale's.
        overrides: changes to the recipe of every arm.
        seeds: how many.

    Raises:
        UserError: if files, data and recipe do not go together, or the folder holds another study.
        Interrupted: on SIGINT or SIGTERM; the same call goes on from there.
    """
    if started_together():
        raise UserError("a study trains its runs one after the other in one process", hint="Start it without torchrun.")
    size = SCALES[scale]
    size = replace(size, train_images=limit_train or size.train_images, test_images=limit_test or size.test_images)
    teachers = _named(materials)
    jobs = planned(size, materials.student, list(teachers), overrides=overrides, arms=arms, seeds=seeds)
    facts = _facts(materials, scale, size, teachers, jobs)
    claim(materials.out, facts)
    study = _Study(
        materials, size, teachers, facts["student"]["time_steps"], facts["settings"]["network"]["encoder"], once(told)
    )
    accuracies = {name: _teacher(study, name) for name in teachers}
    found = list(_outcomes(study, jobs, progress))
    converted = [json.loads(study.figures(seed).read_text(encoding="utf-8")) for seed in range(seeds)]
    spikes = [(final(study.folder(job)) or {}).get("spikes", []) for job in jobs]
    facts["teachers"] = {name: {**teacher, "top1_percent": accuracies[name]} for name, teacher in facts["teachers"].items()}
    made = summarised(facts, list(zip(found, spikes, strict=True)), converted, _memory(study, jobs))
    return {"kind": "study", "study": LASNN, **facts, **made, "machine": machine()}


def _named(materials: LasnnMaterials) -> dict[str, _Teacher]:
    """The teachers by what they are; by their files where two are alike."""
    named: dict[str, _Teacher] = {}
    for path in (materials.teacher, *materials.others):
        known: dict[str, Any] = (
            {"arch": materials.arch, "input_size": materials.input_size} if path == materials.teacher else {}
        )
        teacher = load_teacher(path, **known)
        check_fits(teacher.graph, materials.data.test)
        name = re.sub(r"[^\w.-]", "-", teacher.arch)
        name = path.stem if name in named else name
        if name in named:
            raise UserError(f"two teachers are called {name!r}: {named[name].path} and {path}", hint="Rename one of the files.")
        named[name] = _Teacher(path, teacher.sha256, known)
    return named


def _facts(
    materials: LasnnMaterials, scale: str, size: Scale, teachers: Mapping[str, _Teacher], jobs: Sequence[Job]
) -> dict[str, Any]:
    """What must be the same whenever the study goes on."""
    dataset, settings = materials.data, settings_of(jobs)
    return {
        "data": dataset.name,
        "teachers": {name: {"file": weights_file(one.path).name, "sha256": one.sha256} for name, one in teachers.items()},
        "student": {"target": materials.student, "width": materials.width, "time_steps": settings.network.time_steps},
        "scale": scale,
        "normalisation": materials.normalisation or NORMALISATION,
        "train_images": min(size.train_images or len(dataset.train), len(dataset.train)),
        "test_images_each_epoch": min(size.test_images or len(dataset.test), len(dataset.test)),
        "test_images": min(size.final_images or len(dataset.test), len(dataset.test)),
        "epochs": {ANN: size.ann_epochs, "arms": size.epochs},
        "balance": {"rule": size.balance, "images": size.balance_images, "steps": size.balance_steps},
        "long": size.long,
        "settings": settings.model_dump(mode="json", exclude={"loss", "description"}),
    }


def _teacher(study: _Study, name: str) -> float:
    """A teacher's accuracy on the test images of the table, measured once."""
    place = study.materials.out / "teachers" / f"{name}.json"
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        teacher, limit = study.teachers[name], study.size.final_images
        options = {**teacher.known, **study.run_options()}
        found, _ = evaluate_file(teacher.path, study.materials.data, limit=limit, told=study.told, **options)
        write_text(place, json.dumps({"top1_percent": found.top1}) + "\n")
    return float(json.loads(place.read_text(encoding="utf-8"))["top1_percent"])


def _outcomes(study: _Study, jobs: Sequence[Job], progress: Progress) -> Iterator[Outcome]:
    """The figures of each of ``jobs``, trained first where they are not; after each network, its conversion."""
    epochs = [job.settings().run.epochs for job in jobs]
    progress.begin(epochs, [len(records(study.folder(job))) for job in jobs])
    for job, length in zip(jobs, epochs, strict=True):
        run = study.folder(job)
        if len(records(run)) < length:
            progress.run(job)
            (_train_ann if job.arm == ANN else _train)(study, job, progress)
        if final(run) is None:
            _measure(study, run)
        if job.arm == ANN:
            _convert(study, job)
        found = outcome(run, job)
        progress.finished(found)
        yield found


def _train_ann(study: _Study, job: Job, progress: Progress) -> None:
    materials, run = study.materials, study.folder(job)
    teach(
        materials.student,
        materials.data,
        run,
        recipe=job.recipe,
        overrides=job.overrides,
        normalisation=materials.normalisation or NORMALISATION,
        width=materials.width,
        limit_train=study.size.train_images,
        limit_test=study.size.test_images,
        resume=RunFolder(run).state.exists(),
        device=materials.device,
        watcher=progress,
        told=study.told,
    )


def _convert(study: _Study, job: Job) -> None:
    """The network of ``job`` with balanced thresholds, and how good it is after each time step, up to the longest."""
    place, size, materials = study.converted(job.seed), study.size, study.materials
    place.parent.mkdir(exist_ok=True)
    if not place.exists():
        _balanced(study, job, place)
    figures = study.figures(job.seed)
    if not figures.exists():
        given: dict[str, Any] = {"limit": size.final_images, "told": study.told, **study.run_options()}
        long, _ = evaluate_file(place, materials.data, time_steps=size.long, **given)
        short, _ = evaluate_file(place, materials.data, time_steps=study.time_steps, details=True, **given)
        kept = {"top1_percent": short.top1, "spikes": _spikes(short), "top1_percent_per_step": list(long.top1_per_step)}
        write_text(figures, json.dumps(kept) + "\n")


def _balanced(study: _Study, job: Job, place: Path) -> None:
    """The network of ``job`` as a spiking one, each layer's threshold measured on training images."""
    network, size = folded(load_teacher(RunFolder(study.folder(job)).last)), study.size
    neuron = Neuron(kind="if", decay=1.0, v_threshold=1.0)
    settings = Settings(time_steps=study.time_steps, encoder=study.encoder, neuron=neuron, seed=job.seed)
    asked = Balancing(size.balance, size.balance_steps, size.balance_images, device=study.materials.device)
    given = (converted(network, SAME, settings), network, study.materials.data, asked)
    save(place, balanced(*given, seed=job.seed, told=study.told))


def _train(study: _Study, job: Job, progress: Progress) -> None:
    """Trains an arm to its end, from the seed's converted network."""
    run, tutor = study.folder(job), _tutor(study, job)
    train_file(
        study.converted(job.seed),
        study.materials.data,
        run,
        teacher=tutor.path if tutor else None,
        recipe=job.recipe,
        overrides=job.overrides,
        limit_train=study.size.train_images,
        limit_test=study.size.test_images,
        resume=RunFolder(run).state.exists(),
        watcher=progress,
        told=study.told,
        **(tutor.known if tutor else {}),
        **study.run_options(),
    )


def _tutor(study: _Study, job: Job) -> _Teacher | None:
    """Whom an arm learns from: a teacher by name, its seed's hybrid network, or nobody."""
    if job.schedule == ITSELF:
        return _Teacher(RunFolder(study.folder(replace(job, arm=HYBRID, schedule=ALONE))).last, "")
    return study.teachers.get(job.schedule)


def _measure(study: _Study, run: Path) -> None:
    """The last network's accuracy on the test images of the table, and how often it spikes, kept in its folder."""
    given: dict[str, Any] = {"limit": study.size.final_images, "told": study.told, **study.run_options()}
    found, _ = evaluate_file(RunFolder(run).last, study.materials.data, details=True, **given)
    kept = {"top1_percent": found.top1, "test_images": found.images, "spikes": _spikes(found)}
    write_text(run / FINAL, json.dumps(kept) + "\n")


def _spikes(found: Evaluation) -> list[dict[str, Any]]:
    """Of each neuron layer in order: its name, its neurons, and how often each spiked for an image, on average, over all steps
    (Fig. 7). None for a network without neurons."""
    if not isinstance(found, DetailedEvaluation):
        return []
    steps = len(found.top1_per_step)
    return [{"layer": layer.name, "neurons": math.prod(layer.shape), "spikes": steps * layer.rate} for layer in found.firing]


def _memory(study: _Study, jobs: Sequence[Job]) -> dict[str, float]:
    """MiB that a training step of the first seed's arms takes, by arm; a GPU's where the study ran on one."""
    found = {}
    for job in jobs:
        if job.seed == 0 and job.arm in (HYBRID, LASNN, GRADIENT) and job.arm not in found:
            tutor = _tutor(study, job)
            taken = step_bytes(
                study.converted(0), tutor.path if tutor else None, study.materials.data, job.settings(), study.device()
            )
            found[job.arm] = taken / 2**20
    return found
