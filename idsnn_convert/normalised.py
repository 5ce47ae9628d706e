"""How images are normalised, and who said so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from idsnn_convert.identify import remembered
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.data import Dataset, Split
from idsnn_convert.runtime.data.batches import in_order
from idsnn_convert.runtime.fingerprint import NormalisationFit, choose_normalisation
from idsnn_convert.runtime.normalisation import KNOWN, MEASURED, Normalisation, from_json, measured, parse

SHOWN = 3
"""How many of the normalisations that were tried are told."""


@dataclass(frozen=True)
class Normalised:
    """How images are normalised, and who said so; ``considered``: what was tried, best first, if the data was asked."""

    normalisation: Normalisation
    reason: str
    considered: tuple[NormalisationFit, ...] = ()

    def lines(self) -> Iterator[str]:
        """For the person who waits."""
        yield f"{self.normalisation.name} normalisation: {self.reason}"
        if self.considered:
            best = ", ".join(f"{fit.normalisation.name} {fit.fit:.2f}" for fit in self.considered[:SHOWN])
            yield f"  off by: {best}; {len(self.considered)} were tried"


def decide_normalisation(opened: Checkpoint | Teacher, dataset: Dataset, override: str | None) -> Normalised:
    """The user's choice; else the file's; else what the first batch norm remembers; else the data set's usual one.

    Raises:
        UserError: if the override is unknown.
    """
    if override is not None:
        return asked_normalisation(override, dataset)
    if opened.normalisation is not None:
        return Normalised(from_json(opened.normalisation), "as the file says")
    choice = choose_normalisation(opened.graph, opened.tensors, remembered(dataset)[0])
    if choice.best is not None and choice.clear:
        return Normalised(choice.best.normalisation, "the first batch norm remembers it", choice.fits)
    usual = usual_normalisation(dataset)
    return Normalised(usual.normalisation, f"{usual.reason}; the network's first batch norm cannot tell", choice.fits)


def asked_normalisation(text: str, dataset: Dataset) -> Normalised:
    """The user's choice: a name, numbers, or ``measured`` on the training images.

    Raises:
        UserError: if it is unknown.
    """
    return _measured(dataset.train, "training") if text == MEASURED else Normalised(parse(text), "as asked")


def usual_normalisation(dataset: Dataset) -> Normalised:
    """The data set's own; where nobody knows one, that of its training images, of its test images if there are no others."""
    if dataset.name in KNOWN:
        return Normalised(KNOWN[dataset.name], f"the usual one for {dataset.name}")
    images, which = remembered(dataset)
    return _measured(images, "training" if which == "train" else which)


def _measured(images: Split, which: str) -> Normalised:
    found = measured(batch.cpu() for batch in images.gather(in_order(images)))
    return Normalised(found, f"over {len(images):,} {which} images")
