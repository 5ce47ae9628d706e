"""Whether a teacher's batch norms tell the network that was trained from deliberately wrong ones, and where it goes wrong.

    python benchmarks/fingerprint.py cifar10:DIR=resnet20.th cifar10:DIR=resnet32.th cifar100:DIR=resnet8.pth

Each argument is a data set and the file of a teacher trained on it. Ranked against the network that is right: every other
reading of the file (a stride moved, a pool added or moved, ReLUs or the padding of shortcuts elsewhere), the network with
each of its ReLUs removed in turn, with one more ReLU behind the logits, and on images of every other known normalisation.
Writes ``benchmarks/results/fingerprint.json``: for each the first wrong batch norm, how far off it is, and the right one
there. 300 training images, one thread; CPU seconds beside seconds, since the machine is shared.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.identify import identified
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.data import Dataset, open_dataset
from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.fingerprint import NormalisationFit
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.ranking import Reading, ReadingFit, rank_readings
from idsnn_convert.runtime.recipe import Augment

RESULTS = Path(__file__).resolve().parent / "results"
IMAGES = 300


def main() -> None:
    torch.set_num_threads(1)
    teachers = []
    for argument in sys.argv[1:]:
        data, _, name = argument.partition("=")
        teachers.append(measured(Path(name), open_dataset(data)))
        print(json.dumps({key: value for key, value in teachers[-1].items() if key != "wrong"}))
    facts = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "images": IMAGES,
        "seeds": "0 of sample, crops and flips; one run: the ranking is deterministic",
        "teachers": teachers,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "fingerprint.json").write_text(json.dumps(facts, indent=1) + "\n")


def measured(file: Path, dataset: Dataset) -> dict[str, Any]:
    """One teacher: what is told of it without any flag, and what of the networks that are wrong."""
    loaded = load_teacher(file)
    dataset.train  # noqa: B018 (read beforehand, so that it is not timed)
    wall, cpu = time.perf_counter(), time.process_time()
    teacher, found = identified(loaded, dataset)
    seconds = {"seconds": round(time.perf_counter() - wall, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}
    best = found.ranking[0]
    wrong = [
        row("reading", " ".join(other.differs), other.fit, best.fit)
        for other in found.ranking[1:]
        if other.preparation == best.preparation
    ]
    wrong += list(edited(teacher, dataset, found.choice.fits))
    return {
        "teacher": file.name,
        "data": dataset.name,
        "verdict": found.verdict,
        "normalisation": best.preparation.normalisation.name,
        "batch_norms": len(best.fit.layers),
        "furthest_off": round(max(layer.off_by for layer in best.fit.layers), 3),
        **seconds,
        "wrong_networks": len(wrong),
        "behind_the_right_one": sum(bool(each["behind"]) for each in wrong),
        "named_a_layer": sum(each["first_wrong"] is not None for each in wrong),
        "wrong": wrong,
    }


def edited(teacher: Teacher, dataset: Dataset, normalisations: tuple[NormalisationFit, ...]) -> Iterator[dict[str, Any]]:
    """Rows of the networks with a ReLU less or more, and of the right one under other normalisations."""
    sample = dataset.train.sample(IMAGES, seed=0)

    def prepared(fit: NormalisationFit) -> torch.Tensor:
        augment = Augment(crop_padding=fit.crop_padding)
        batches = train_batches(sample, IMAGES, seed=0, epoch=0, normalisation=fit.normalisation, augment=augment)
        return next(iter(batches))[0]

    unseen = dataset.test.sample(IMAGES, seed=0)
    images, answered = prepared(normalisations[0]), normalisations[0].normalisation(unseen.images)
    tried = [("right", "", Reading(teacher.graph, images, answered))]
    for site in teacher.graph.of("activation"):
        linear = replace(site, attrs={"kind": "leaky_relu", "slope": 1.0})
        tried.append(("ReLU removed", site.name, Reading(teacher.graph.with_nodes({site.name: linear}), images, answered)))
    tried.append(("ReLU added", "behind the logits", Reading(with_last_relu(teacher.graph), images, answered)))
    tried += [("normalisation", fit.normalisation.name, Reading(teacher.graph, prepared(fit))) for fit in normalisations[1:]]
    ranked = rank_readings([reading for _, _, reading in tried], teacher.tensors, unseen.labels)
    for other in ranked:
        if other.index:
            kind, what, _ = tried[other.index]
            yield row(kind, what, other, ranked[0], ahead=ranked[0].index != 0)


def with_last_relu(graph: Graph) -> Graph:
    """``graph`` with one more ReLU behind its last operation."""
    *nodes, output = graph.nodes
    last = Node("last_relu", "activation", output.inputs, {"kind": "relu"}, output.shape)
    return Graph((*nodes, last, replace(output, inputs=("last_relu",))))


def row(kind: str, what: str, fit: ReadingFit, best: ReadingFit, ahead: bool = False) -> dict[str, Any]:
    """One wrong network; ``behind``: something tells it from the right one: a batch norm, the loss, the mean logit."""
    wrong = fit.first_wrong
    ours = next((layer.off_by for layer in best.layers if wrong is not None and layer.node == wrong.node), None)
    return {
        "kind": kind,
        "what": what,
        "behind": not ahead and bool(fit.told_by),
        "told_by": fit.told_by,
        "first_wrong": None if wrong is None else wrong.node,
        "off_by": None if wrong is None else round(wrong.off_by, 3),
        "right_there": None if ours is None else round(ours, 3),
        "loss": None if fit.loss is None else round(fit.loss, 3),
        "right_loss": None if best.loss is None else round(best.loss, 3),
    }


if __name__ == "__main__":
    main()
