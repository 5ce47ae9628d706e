"""Everything one pass over a split can tell of a network, in one record."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from idsnn_convert.runtime.data.types import Split
from idsnn_convert.runtime.evaluate import Evaluation, evaluate
from idsnn_convert.runtime.firing import LayerFiring, watched
from idsnn_convert.runtime.measures import Confusion, Confusions, EarlyExits, Exit
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.normalisation import Normalisation


@dataclass(frozen=True)
class DetailedEvaluation(Evaluation):
    """An evaluation and what was measured besides.

    Attributes:
        confusion: who was taken for whom after the last step.
        class_names: in the order of the labels; empty where the data set has none.
        exits: of a spiking network, one row a threshold; empty for others.
        firing: of a spiking network, one row a neuron layer; empty for others.
    """

    confusion: Confusion = field(default_factory=lambda: Confusion(()))
    class_names: tuple[str, ...] = ()
    exits: tuple[Exit, ...] = ()
    firing: tuple[LayerFiring, ...] = ()

    def name(self, label: int) -> str:
        """The class's name, or its number."""
        return self.class_names[label] if self.class_names else str(label)


def evaluate_in_detail(
    network: nn.Module,
    split: Split,
    normalisation: Normalisation,
    *,
    thresholds: Sequence[float] = (),
    class_names: Sequence[str] = (),
    **given: Any,
) -> DetailedEvaluation:
    """:func:`idsnn_convert.runtime.evaluate.evaluate`, and everything else that the same pass tells.

    Args:
        thresholds: confidences at which a spiking network may stop before T.
        given: passed on to ``evaluate``.
    """
    confusions, exits = Confusions(), EarlyExits(thresholds)
    spiking = isinstance(network, SpikingNetwork)
    with ExitStack() as stack:
        firing = stack.enter_context(watched(network)) if isinstance(network, SpikingNetwork) else None
        measures = (confusions, exits) if spiking and thresholds else (confusions,)
        found = evaluate(network, split, normalisation, measures=measures, **given)
    return DetailedEvaluation(
        **asdict(found),
        confusion=confusions.found(),
        class_names=tuple(class_names),
        exits=exits.found() if exits in measures else (),
        firing=firing.found() if firing is not None else (),
    )
