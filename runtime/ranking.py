"""Readings of one network, ranked by how well each gives again what the batch norms stored in training.

A state dict does not say where its network strides, activates, pools or pads; each reading of it that the tensors fit is a
graph. The readings go through the network together, from one batch norm to the next: what several compute alike is
computed once, and one that clearly fits worse than the best is followed no further.

Letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fingerprint import LayerFit, layer_fit
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import computed
from idsnn_convert.runtime.ops import OPS, check

WRONG = 0.15
"""A batch norm disagrees with the images if it is further off than this.

Measured on four CIFAR teachers with 300 images: at most 0.06 in every layer of the network that was trained; from 0.33 in
the first behind a ReLU too few, 0.58 behind shortcuts padded otherwise, 0.18 under the next normalisation.
"""

WORSE, WORSE_BY = 2.0, 0.02
"""A reading departs from a better one where it is so many times, and by so much, further off."""

MOST_DEPARTURES = 3
"""A reading that departed from the best so often is followed no further, though no single layer disagrees."""

TELLING_TOP1 = 30.0
"""Labels say something of the readings only if the network gets so many percent right; else they mean other classes."""

CERTAIN = 2.5
"""Of two readings with the same statistics one answers better if its loss is less by so many standard errors."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One way to read a network: its graph, and the images (N, C, H, W) as they are thought to have been prepared.

    Readings that share the very same tensor of images share what is computed of it.

    Attributes:
        unseen: images that the network was not trained on, prepared alike but neither cropped nor flipped; None for none.
    """

    graph: Graph
    images: Tensor
    unseen: Tensor | None = None


@dataclass(frozen=True)
class ReadingFit:
    """What became of one reading.

    Attributes:
        index: its place among the readings given.
        layers: its batch norms in graph order, as far as it was followed.
        followed: whether it was followed to the end.
        first_wrong: of the best reading, its first batch norm that disagrees with the images; of another, the first that
            disagrees or fits clearly worse than the best's does. None if there is none.
        told_by: what tells it from the best: ``batch norm``, ``loss``, ``logits``; empty for the best and what fits as well.
        loss: mean cross-entropy of the unseen images in nats; top1: right answers in percent. None where these were not
            asked: only readings that no batch norm tells apart answer.
    """

    index: int
    layers: tuple[LayerFit, ...]
    followed: bool
    first_wrong: LayerFit | None = None
    told_by: str = ""
    loss: float | None = None
    top1: float | None = None

    @property
    def off_by(self) -> float:
        """The mean of its batch norms, as far as it was followed."""
        return sum(fit.off_by for fit in self.layers) / max(1, len(self.layers))


def disagrees(fit: LayerFit) -> bool:
    return fit.off_by > WRONG


@torch.inference_mode()
def rank_readings(
    readings: Sequence[Reading], tensors: Mapping[str, Tensor], labels: Tensor | None = None
) -> tuple[ReadingFit, ...]:
    """The readings, the best first.

    Those that were followed to the end come first, by how far off their batch norms are on average. What comes after the
    last batch norm leaves no trace in any: between readings that differ there alone, answers to unseen images decide; then
    the mean of the logits, which training with cross-entropy leaves at zero (its gradients sum to zero over the classes);
    then the order given. The others follow, the one that went further first.

    Args:
        readings: graphs without neurons that own ``tensors`` and have their batch norms in the same order; likeliest first.
        labels: int64 (N,), of the unseen images.

    Raises:
        UserError: if a graph takes another number of channels than its images have.
    """
    orders = {tuple(node.name for node in reading.graph.of("batch_norm")) for reading in readings}
    if len(orders) != 1:
        raise ValueError(f"the readings have their batch norms in {len(orders)} orders, not in one")
    for reading in readings:
        _check(reading)
    walks = _Walks(readings, tensors)
    layers: list[list[LayerFit]] = [[] for _ in readings]
    departures = [0] * len(readings)
    live = list(range(len(readings)))
    for _ in orders.pop():
        known: dict[int, LayerFit] = {}  # an input that several share is the same tensor
        for index, (node, x) in walks.advanced(live):
            if id(x) not in known:
                known[id(x)] = layer_fit(node, x, tensors)
            layers[index].append(known[id(x)])
        best = min((layers[index][-1] for index in live), key=lambda fit: fit.off_by)
        for index in live:
            departures[index] += _worse(layers[index][-1], best)
        live = [index for index in live if not _is_lost(layers[index][-1], best, departures[index])]
        walks.end_all_but(live)
    walks.end_all_but([])
    fits = [ReadingFit(index, tuple(found), index in live) for index, found in enumerate(layers)]
    return _ordered(fits, lambda tied: _answers([readings[fit.index] for fit in tied], tensors), labels)


class _Walks:
    """The readings on their way through the network, each stopped at a batch norm or at its end."""

    def __init__(self, readings: Sequence[Reading], tensors: Mapping[str, Tensor]) -> None:
        self._shared: dict[int, Tensor] = {}
        known: dict[object, int] = {}
        self._walks = {i: _walk(each, tensors, _ids(each, known), self._shared) for i, each in enumerate(readings)}

    def advanced(self, live: Sequence[int]) -> Iterator[tuple[int, tuple[Node, Tensor]]]:
        """Takes each to its next stop."""
        self._shared.clear()
        for index in live:
            yield index, next(self._walks[index])

    def end_all_but(self, live: Sequence[int]) -> None:
        for index in self._walks.keys() - set(live):
            self._walks.pop(index).close()


def _check(reading: Reading) -> None:
    wanted, given = reading.graph.input_shape[0], reading.images.shape[1]
    if wanted != given:
        raise UserError(f"the network takes {wanted} channels, the images have {given}")
    check(reading.graph)


def _ids(reading: Reading, known: dict[object, int]) -> dict[str, int]:
    """Node -> a number that nodes of any reading share exactly if they compute the same."""
    found: dict[str, int] = {}
    for node in reading.graph:
        owner = node.name if OPS[node.op].tensors(node) else ""
        inputs = tuple(found[name] for name in node.inputs) or id(reading.images)
        found[node.name] = known.setdefault((node.op, tuple(sorted(node.attrs.items())), owner, inputs), len(known))
    return found


def _walk(
    reading: Reading, tensors: Mapping[str, Tensor], ids: Mapping[str, int], shared: dict[int, Tensor]
) -> Generator[tuple[Node, Tensor], None, None]:
    """Computes the network; stops at each batch norm with its input, and at the output with the logits (N, K).

    ``shared`` holds what other readings computed since their last stop.
    """
    left = {name: len(users) for name, users in reading.graph.users.items()}
    values = {reading.graph.nodes[0].name: reading.images}
    for node in reading.graph.nodes[1:]:
        inputs = [values[name] for name in node.inputs]
        if node.op in ("batch_norm", "output"):
            yield node, inputs[0]
        if node.op == "output":
            return
        if ids[node.name] not in shared:
            shared[ids[node.name]] = computed(node, tensors, inputs)
        values[node.name] = shared[ids[node.name]]
        for name in dict.fromkeys(node.inputs):
            left[name] -= 1
            if not left[name]:
                del values[name]


def _worse(fit: LayerFit, best: LayerFit) -> bool:
    return fit.off_by >= WORSE * best.off_by and fit.off_by >= best.off_by + WORSE_BY


def _is_lost(fit: LayerFit, best: LayerFit, departures: int) -> bool:
    return _worse(fit, best) and (disagrees(fit) or departures >= MOST_DEPARTURES)


def _answers(readings: Sequence[Reading], tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The logits (N, K) of each for its unseen images; none if there are no such images."""
    unseen = [replace(reading, images=reading.unseen) for reading in readings if reading.unseen is not None]
    walks = _Walks(unseen, tensors)
    for _ in readings[0].graph.of("batch_norm"):
        for _ in walks.advanced(range(len(unseen))):
            pass
    return [logits for _, (_, logits) in walks.advanced(range(len(unseen)))]


def _ordered(
    fits: list[ReadingFit], answers: Callable[[list[ReadingFit]], list[Tensor]], labels: Tensor | None
) -> tuple[ReadingFit, ...]:
    """``answers`` gives the logits of readings that no batch norm tells apart."""
    first, *rest = sorted(fits, key=lambda fit: (not fit.followed, -len(fit.layers), fit.off_by, fit.index))
    tied = [first, *(fit for fit in rest if fit.followed and not _first_worse(fit, first))]
    tied.sort(key=lambda fit: fit.index)
    others = [fit for fit in rest if fit not in tied]
    if len(tied) > 1 and labels is not None and (logits := answers(tied)):
        tied = _by_answers(tied, logits, labels)
    best = tied[0]
    wrong = next((layer for layer in best.layers if disagrees(layer)), None)
    told = [replace(fit, first_wrong=_first_worse(fit, best), told_by="batch norm") for fit in others]
    return (replace(best, first_wrong=wrong), *tied[1:], *told)


def _by_answers(tied: list[ReadingFit], logits: list[Tensor], labels: Tensor) -> list[ReadingFit]:
    """The one that answers best, those of which that cannot be said in the order given, and the others."""
    losses = [F.cross_entropy(each, labels, reduction="none") for each in logits]
    right = [100 * (each.argmax(1) == labels).double().mean().item() for each in logits]
    telling = max(right) >= TELLING_TOP1
    shifts = [(each.mean().abs() / each.std()).item() for each in logits]

    def told(i: int, j: int) -> str:
        """What tells that ``i`` answers better than ``j``."""
        more = losses[j] - losses[i]
        if telling and more.mean() > CERTAIN * more.std() / len(more) ** 0.5:
            return "loss"
        less = telling and -more.mean() > CERTAIN * more.std() / len(more) ** 0.5
        return "logits" if not less and shifts[j] > max(WRONG, WORSE * shifts[i]) else ""

    best = 0
    for i in range(1, len(tied)):
        if told(i, best):
            best = i
    found = [replace(fit, told_by=told(best, i), loss=losses[i].mean().item(), top1=right[i]) for i, fit in enumerate(tied)]
    return sorted(found, key=lambda fit: (fit.index != tied[best].index, bool(fit.told_by)))


def _first_worse(fit: ReadingFit, best: ReadingFit) -> LayerFit | None:
    pairs = zip(fit.layers, best.layers, strict=False)
    return next((theirs for theirs, ours in pairs if _worse(theirs, ours)), None)
