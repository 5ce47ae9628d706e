"""Runs a study: what is finished is kept, what was interrupted goes on, what is missing is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from idsnn_convert.api import convert, converted, weights_file
from idsnn_convert.learn import evaluate_file, train_file
from idsnn_convert.machine import machine
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime.checkpoint import is_checkpoint, read
from idsnn_convert.runtime.data import Dataset
from idsnn_convert.runtime.distributed import started_together
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import check_fits
from idsnn_convert.runtime.files import write_text
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.run_state import flat
from idsnn_convert.runtime.teacher_cache import LIMIT
from idsnn_convert.runtime.trainer import Watcher
from idsnn_convert.study.outcome import Outcome, final, outcome, records, write_final
from idsnn_convert.study.plan import ARMS, SCALES, Job, Scale, planned
from idsnn_convert.study.summary import summarised

FACTS = "study.json"
CACHE = "teacher-cache"
"""Folder of the teacher's logits: arms and schedules of one seed show it the same batches."""


class Progress(Watcher, Protocol):
    """A watcher of runs that is also told which run it watches."""

    def begin(self, epochs: Sequence[int], done: Sequence[int]) -> None:
        """The study begins: the epochs of each run, and how many of them are done already."""

    def run(self, job: Job) -> None:
        """``job`` begins or goes on."""

    def finished(self, found: Outcome) -> None:
        """A run is done."""


@dataclass(frozen=True)
class Materials:
    """What a study is made from, and how its runs are run.

    Attributes:
        student: a spiking checkpoint, or the name of a network that the teacher is converted to with the default
            settings, once a seed: the seed draws what stays fresh.
        arch, input_size: what the teacher is, where its file cannot tell.
        teacher_cache: where the runs that distill share the teacher's logits, ``teacher-cache`` in ``out`` by default;
            ``teacher_cache_gib``: how large it may grow, 0 for none.
    """

    data: Dataset
    teacher: Path
    student: str
    out: Path
    normalisation: str | None = None
    arch: str | None = None
    input_size: int | None = None
    device: str = "auto"
    compiled: bool | None = None
    teacher_cache: Path | None = None
    teacher_cache_gib: float = LIMIT / 2**30


def run_study(
    study: str,
    materials: Materials,
    *,
    scale: str = "small",
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    arms: Sequence[str] = (),
    seeds: int = 3,
    limit_train: int | None = None,
    limit_test: int | None = None,
    progress: Progress,
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Trains what is not trained yet, and gives all figures of the study as JSON-native values.

    Args:
        study: ``ablation`` or ``convergence``; in one folder they share the runs they have in common.
        scale: a key of :data:`idsnn_convert.study.plan.SCALES`; recipe and limits default to the scale's.
        seeds: how many.

    Raises:
        UserError: if files, data and recipe do not go together, or the folder holds another study.
        Interrupted: on SIGINT, SIGTERM or SIGHUP; the same call goes on from there.
    """
    if started_together():
        raise UserError("a study trains its runs one after the other in one process", hint="Start it without torchrun.")
    size = SCALES[scale]
    size = replace(
        size,
        recipe=recipe or size.recipe,
        train_images=limit_train or size.train_images,
        test_images=limit_test or size.test_images,
    )
    jobs = planned(study, size, recipe=size.recipe, overrides=overrides, arms=arms, seeds=seeds)
    facts = _facts(materials, scale, size, overrides)
    claim(materials.out, facts)
    told = once(told)
    teacher = _teacher(materials, told)
    found = list(_outcomes(study, jobs, materials, size, progress, told))
    facts = {**facts, "teacher": {**facts["teacher"], **teacher}}
    return {"kind": "study", "study": study, **facts, **summarised(study, size, found, facts["data"]), "machine": machine()}


def _outcomes(
    study: str, jobs: Sequence[Job], materials: Materials, size: Scale, progress: Progress, told: Callable[[str], None]
) -> Iterator[Outcome]:
    """The figures of each of ``jobs``, trained first where they are not."""
    runs = materials.out / "runs"
    epochs = [size.schedules[job.schedule].epochs for job in jobs]
    progress.begin(epochs, [len(records(runs / job.folder)) for job in jobs])
    for job, length in zip(jobs, epochs, strict=True):
        run = runs / job.folder
        if len(records(run)) < length:
            progress.run(job)
            _train(job, run, materials, size, progress, told)
        if study == "ablation" and final(run) is None:
            _measure(run, materials, told)
        found = outcome(run, job)
        progress.finished(found)
        yield found


def once(told: Callable[[str], None]) -> Callable[[str], None]:
    """``told``, deaf to what it was told before: runs that are alike say the same."""
    heard: set[str] = set()

    def tell(line: str) -> None:
        if line not in heard:
            heard.add(line)
            told(line)

    return tell


def _facts(materials: Materials, scale: str, size: Scale, overrides: Sequence[str]) -> dict[str, Any]:
    """What must be the same whenever the study goes on."""
    teacher = load_teacher(materials.teacher, arch=materials.arch, input_size=materials.input_size)
    dataset = materials.data
    check_fits(teacher.graph, dataset.test)
    file = Path(materials.student)
    start = read(file) if is_checkpoint(file) else converted(teacher, materials.student, _settings(0))
    check_fits(start.graph, dataset.test)
    student = {"target": start.mapping.get("target"), "time_steps": start.time_steps}
    if is_checkpoint(file):
        student |= {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    return {
        "data": dataset.name,
        "teacher": {"file": weights_file(teacher.path).name, "arch": teacher.arch, "sha256": teacher.sha256},
        "student": student,
        "scale": scale,
        "train_images": min(size.train_images or len(dataset.train), len(dataset.train)),
        "test_images_each_epoch": min(size.test_images or len(dataset.test), len(dataset.test)),
        "recipe": size.recipe,
        "settings": load_recipe(size.recipe, overrides).to_json(),
        "schedules": {
            name: {"epochs": schedule.epochs, "overrides": list(schedule.overrides)}
            for name, schedule in size.schedules.items()
        },
    }


def claim(out: Path, facts: dict[str, Any]) -> None:
    """Makes the folder this study's; one that is must be asked for the same.

    Raises:
        UserError: naming the first difference.
    """
    place = out / FACTS
    if not place.exists():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {out}: {error.strerror}") from error
        write_text(place, json.dumps(facts, indent=1) + "\n")
        return
    try:
        before = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{place} cannot be read: {error}", hint="Name another folder.") from error
    there, asked = dict(flat("", before)), dict(flat("", facts))
    for key in dict.fromkeys((*asked, *there)):
        if there.get(key) != asked.get(key):
            problem = f"{out} holds a study with {key} = {there.get(key)!r}, not {asked.get(key)!r}"
            raise UserError(problem, hint="Ask for the same, or name another folder.")


def _teacher(materials: Materials, told: Callable[[str], None]) -> dict[str, Any]:
    """The teacher's accuracy on all test images, measured once."""
    place = materials.out / "teacher.json"
    if not place.exists():
        options = _options(materials)
        found, chosen = evaluate_file(materials.teacher, materials.data, told=told, **options)
        kept = {"top1_percent": found.top1, "normalisation": chosen.normalisation.to_json()}
        write_text(place, json.dumps(kept) + "\n")
    return dict(json.loads(place.read_text(encoding="utf-8")))


def _options(materials: Materials) -> dict[str, Any]:
    names = ("normalisation", "arch", "input_size", "device", "compiled")
    return {name: getattr(materials, name) for name in names}


def _settings(seed: int) -> Settings:
    """The default conversion, with a fresh head also where the student is the teacher's own structure, as published."""
    return Settings(head="fresh", seed=seed)


def _student(materials: Materials, seed: int) -> Path:
    """The checkpoint that a run with ``seed`` starts from."""
    if is_checkpoint(Path(materials.student)):
        return Path(materials.student)
    place = materials.out / "students" / f"seed-{seed}.safetensors"
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        convert(
            materials.teacher,
            materials.student,
            place,
            settings=_settings(seed),
            arch=materials.arch,
            input_size=materials.input_size,
        )
    return place


def _train(job: Job, run: Path, materials: Materials, size: Scale, progress: Progress, told: Callable[[str], None]) -> None:
    """Trains ``job`` to its end in the folder ``run``."""
    train_file(
        _student(materials, job.seed),
        materials.data,
        run,
        teacher=materials.teacher,  # also of arms that do not distill: it tells how images are normalised
        recipe=job.recipe,
        overrides=job.overrides,
        limit_train=size.train_images,
        limit_test=size.test_images,
        resume=RunFolder(run).state.exists(),
        teacher_cache=(materials.teacher_cache or materials.out / CACHE) if ARMS[job.arm].distilled else None,
        teacher_cache_gib=materials.teacher_cache_gib,
        watcher=progress,
        told=told,
        **_options(materials),
    )


def _measure(run: Path, materials: Materials, told: Callable[[str], None]) -> None:
    """The last network's accuracy on all test images, kept in its folder."""
    last, device, compiled = RunFolder(run).last, materials.device, materials.compiled
    found, _ = evaluate_file(last, materials.data, device=device, compiled=compiled, told=told)
    write_final(run, found)
