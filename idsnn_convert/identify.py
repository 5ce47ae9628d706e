"""Which of the networks that a teacher's tensors fit is the one that was trained, and on which pixels: images tell.

Names and shapes give a likeliest reading of a state dict. With images, that reading and those that differ from it in one
thing are ranked by how well they give again what the batch norms stored; if another than the first wins, the search goes
on around that one. Known normalisations are told apart by the first batch norm beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from idsnn_convert.passes.families.recognise import readable
from idsnn_convert.passes.families.variants import differences, graph_of, read_as, variants
from idsnn_convert.passes.resnet.spec import ResNetSpec
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.data.types import Dataset, Split
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import check_fits
from idsnn_convert.runtime.fingerprint import (
    CLEAR_RATIO,
    CROP_PADDINGS,
    LayerFit,
    NormalisationChoice,
    NormalisationFit,
    choose_normalisation,
)
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.normalisation import Normalisation, candidates, from_json
from idsnn_convert.runtime.ranking import WRONG, Reading, ReadingFit, disagrees, rank_readings
from idsnn_convert.runtime.recipe import Augment

IMAGES = 300
"""Images the batch norms are held against."""

STEM_IMAGES = 1000
"""Images for the first batch norm, which tells the normalisations apart."""

MOST_VALUES = 40_000_000
"""Most values of one map over all images; fewer images are taken where maps are large."""

IN_DOUBT = 3
"""Most normalisations that are tried on the whole network where the first batch norm leaves a doubt."""

ROUNDS = 4
"""Most things that may differ from the likeliest reading."""


@dataclass(frozen=True)
class Ranked:
    """One reading that was tried.

    Attributes:
        differs: in what it differs from the reading that won, one sentence each; empty for that one.
        fit: what became of it; ``fit.index`` has no meaning here.
    """

    differs: tuple[str, ...]
    preparation: NormalisationFit
    fit: ReadingFit


@dataclass(frozen=True)
class Identification:
    """What the images of a data set say of a teacher.

    Attributes:
        data: the data set's name; ``images`` of its ``split`` were taken.
        choice: the normalisations, as the first batch norm ranks them.
        changed: in what the reading that won differs from the likeliest by names and shapes, one sentence each.
        ranking: the readings, best first; empty if the network has no batch norm.
    """

    data: str
    split: str
    images: int
    choice: NormalisationChoice
    changed: tuple[str, ...] = ()
    ranking: tuple[Ranked, ...] = ()

    @property
    def layers(self) -> tuple[LayerFit, ...]:
        """The batch norms of the reading that won, in graph order."""
        return self.ranking[0].fit.layers if self.ranking else ()

    @property
    def first_wrong(self) -> LayerFit | None:
        """The first of them that disagrees with the images: where the network departs from the one that was trained."""
        return self.ranking[0].fit.first_wrong if self.ranking else None

    @property
    def verdict(self) -> str:
        """``same``: it is the network that was trained; ``other``: it is not, or not on such images; ``unknown``."""
        if not self.ranking:
            return "unknown"
        return "same" if self.first_wrong is None else "other"

    @property
    def alike(self) -> tuple[Ranked, ...]:
        """The other readings that fit as well as the one that won."""
        return tuple(other for other in self.ranking[1:] if other.differs and not other.fit.told_by)

    def lines(self) -> Iterator[str]:
        """For the person who waits."""
        agree = sum(not disagrees(fit) for fit in self.layers)
        told = f"{agree} of {len(self.layers)} batch norms agree with {self.images} images"
        wrong = "" if self.first_wrong is None else f", {self.first_wrong.node} is the first that does not"
        if self.layers:
            yield f"network: {told}{wrong}"
        for sentence in self.changed:
            yield f"  read otherwise than usual: {sentence}"

    def record(self) -> dict[str, Any]:
        """All of it as JSON-native values, for a checkpoint."""
        best = self.choice.best
        return {
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "verdict": self.verdict,
            "limit": WRONG,
            "normalisation": None if best is None else best.normalisation.to_json(),
            "normalisation_clear": self.choice.clear,
            "normalisations": described_ranking(self.choice.fits),
            "changed": list(self.changed),
            "readings": [self._row(ranked) for ranked in self.ranking],
            "batch_norms": [{**asdict(fit), "off_by": fit.off_by, "agrees": not disagrees(fit)} for fit in self.layers],
        }

    def _row(self, ranked: Ranked) -> dict[str, Any]:
        fit, wrong = ranked.fit, ranked.fit.first_wrong
        ours = next((layer for layer in self.layers if wrong is not None and layer.node == wrong.node), None)
        return {
            "differs": list(ranked.differs),
            "normalisation": ranked.preparation.normalisation.name,
            "crop_padding": ranked.preparation.crop_padding,
            "batch_norms": len(fit.layers),
            "off_by": fit.off_by,
            "first_wrong": None if wrong is None else {**asdict(wrong), "off_by": wrong.off_by},
            "told_by": fit.told_by,
            "best_there": None if ours is None else ours.off_by,
            "loss": fit.loss,
            "top1_percent": fit.top1,
        }


def described_ranking(fits: Iterable[NormalisationFit]) -> list[dict[str, Any]]:
    """The normalisations that were tried, best first; see :class:`idsnn_convert.runtime.fingerprint.NormalisationFit`."""
    return [{"name": fit.normalisation.name, "off_by": fit.fit, "crop_padding": fit.crop_padding} for fit in fits]


def identified(
    teacher: Teacher, dataset: Dataset, normalisation: Normalisation | None = None
) -> tuple[Teacher, Identification]:
    """The teacher read as the images say, and what they said; its assumptions that they confirm are no longer such.

    Takes the training images, or the test images, which are like them, where only those are there.

    Args:
        normalisation: of the images, if known.

    Raises:
        UserError: if the teacher cannot classify these images.
    """
    if normalisation is None and teacher.normalisation is not None:
        normalisation = from_json(teacher.normalisation)  # the file says so
    split, which = remembered(dataset)
    check_fits(teacher.graph, split)
    sample = split.sample(_count(teacher.graph), seed=0)
    found = Identification(dataset.name, which, len(sample), NormalisationChoice((), clear=False))
    if not teacher.graph.of("batch_norm"):
        return replace(teacher, evidence={**found.record(), "established": []}), found
    known = candidates(sample.image_shape[0]) if normalisation is None else (normalisation,)
    choice = _first_told(teacher, split) if normalisation is None else NormalisationChoice((), clear=False)
    if choice.best is None:
        choice = _by_running(teacher, sample, known)
    spec, ranking = _ranked(teacher, choice, sample, _unseen(dataset, len(sample)))
    fits = (ranking[0].preparation, *(fit for fit in choice.fits if fit is not ranking[0].preparation))
    changed = _differs(teacher.spec, spec)
    found = replace(found, choice=replace(choice, fits=fits), changed=changed, ranking=ranking)
    read = teacher if spec is None or not changed else read_as(teacher, spec)
    proven = readable(spec) if spec is not None and found.verdict == "same" else ()
    left = tuple(sentence for sentence in read.assumptions if sentence not in proven)
    clear = fits[0].normalisation.to_json() if choice.clear else None
    evidence = {**found.record(), "established": list(proven)}
    return replace(read, assumptions=left, normalisation=read.normalisation or clear, evidence=evidence), found


def remembered(dataset: Dataset) -> tuple[Split, str]:
    """The images a network was trained on; the test images, which are like them, where only those are there."""
    try:
        return dataset.train, "train"
    except UserError:
        return dataset.test, "test"


def _unseen(dataset: Dataset, count: int) -> Split | None:
    """Test images, if there are any: what follows the last batch norm shows in the answers to them alone."""
    try:
        return dataset.test.sample(count, seed=0)
    except UserError:
        return None


def _count(graph: Graph) -> int:
    """How many images to take for maps of this size."""
    return max(32, min(IMAGES, MOST_VALUES // max(math.prod(node.shape) for node in graph)))


def _first_told(teacher: Teacher, split: Split) -> NormalisationChoice:
    """What the first batch norm says; under another stem if the teacher's own leaves a doubt and that one does not."""
    choice = choose_normalisation(teacher.graph, teacher.tensors, split, images=STEM_IMAGES)
    if choice.clear or choice.best is None or teacher.spec is None:
        return choice
    stems = [spec for spec in variants(teacher.spec) if spec.stem != teacher.spec.stem]
    others = (choose_normalisation(graph_of(spec), teacher.tensors, split, images=STEM_IMAGES) for spec in stems)
    return next((other for other in others if other.clear), choice)


def _by_running(teacher: Teacher, sample: Split, known: Sequence[Normalisation]) -> NormalisationChoice:
    """The same where no convolution of the image precedes the first batch norm: by running the network."""
    tried = [NormalisationFit(normalisation, math.inf, crop) for normalisation in known for crop in CROP_PADDINGS]
    ranked = rank_readings([Reading(teacher.graph, _prepared(sample, fit)) for fit in tried], teacher.tensors)
    fits: dict[str, NormalisationFit] = {}
    wrong: list[bool] = []
    for found in ranked:
        fit = replace(tried[found.index], fit=found.layers[0].off_by)
        if fit.normalisation.name not in fits:
            fits[fit.normalisation.name] = fit
            wrong.append(found.first_wrong is not None)
    return NormalisationChoice(tuple(fits.values()), clear=not wrong[0] and all(wrong[1:]))


def _prepared(sample: Split, fit: NormalisationFit) -> Tensor:
    """All of ``sample`` as a trainer would feed it; in the same order for any ``fit``."""
    batches = train_batches(
        sample, len(sample), seed=0, epoch=0, normalisation=fit.normalisation, augment=Augment(crop_padding=fit.crop_padding)
    )
    return next(iter(batches))[0]


def _ranked(
    teacher: Teacher, choice: NormalisationChoice, sample: Split, unseen: Split | None
) -> tuple[ResNetSpec | None, tuple[Ranked, ...]]:
    """What to read the teacher as, and that reading and the others tried around it, best first.

    Another reading than the likeliest is taken only if it agrees with the images where that one departs from it: data
    that the network was not trained on must not change how it is read.
    """
    likely = [fit for fit in choice.fits[:IN_DOUBT] if fit.fit <= CLEAR_RATIO * choice.fits[0].fit]
    prepared = [
        (fit, _prepared(sample, fit), None if unseen is None else fit.normalisation(unseen.images))
        for fit in (likely[:1] if choice.clear else likely)
    ]
    labels = None if unseen is None else unseen.labels
    center = teacher.spec
    for _ in range(ROUNDS):
        specs = [center] if center is None else [center, *variants(center)]
        fits = _round(teacher, specs, prepared, labels)
        winner = fits[0][0]
        if winner == center:
            break
        before = next(fit for spec, _, fit in fits if spec == center)
        if before.told_by != "loss" and not _agrees_at(fits[0][2], before.first_wrong):
            fits = [*_round(teacher, [center], prepared, labels), *(found for found in fits if found[0] != center)]
            break
        center = winner
    return center, tuple(Ranked(_differs(center, spec), preparation, fit) for spec, preparation, fit in fits)


def _agrees_at(fit: ReadingFit, wrong: LayerFit | None) -> bool:
    return wrong is not None and any(layer.node == wrong.node and not disagrees(layer) for layer in fit.layers)


def _round(
    teacher: Teacher,
    specs: Sequence[ResNetSpec | None],
    prepared: Sequence[tuple[NormalisationFit, Tensor, Tensor | None]],
    labels: Tensor | None,
) -> list[tuple[ResNetSpec | None, NormalisationFit, ReadingFit]]:
    """Each specification with each preparation of the images, the best fit first."""
    tried = [(spec, *preparation) for spec in specs for preparation in prepared]
    graphs = {spec: teacher.graph if spec is None else graph_of(spec) for spec in specs}
    readings = [Reading(graphs[spec], images, unseen) for spec, _, images, unseen in tried]
    ranked = rank_readings(readings, teacher.tensors, labels)
    return [(tried[fit.index][0], tried[fit.index][1], fit) for fit in ranked]


def _differs(spec: ResNetSpec | None, other: ResNetSpec | None) -> tuple[str, ...]:
    return () if spec is None or other is None else differences(spec, other)
