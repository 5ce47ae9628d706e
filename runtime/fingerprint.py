"""What a network's batch norms remember of its training data: how the images were normalised and cropped.

A batch norm stores the mean and variance of its input over the training set. Real images fed through the network
must give the same numbers again; a wrong normalisation, or a layer that is not as its author wrote it, does not.

Letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.data.types import Split
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import Normalisation, candidates
from idsnn_convert.runtime.ops import tensor_shapes

CHUNK = 250
"""Images a forward pass."""

CROP_PADDINGS = (4, 0)
"""Training crops tried: black borders of 4 pixels, as nearly everybody trains on small images, and none."""

CLEAR_FIT, CLEAR_RATIO = 0.1, 2.0
"""A choice is clear if its variances are right within 10 % and the next choice is off at least twice as far.

Measured on four CIFAR teachers with 3,000 images: 0.01 to 0.05 for the truth, 0.15 and more for all else.
"""

SAME = 0.005
"""Normalisations whose numbers all lie this close cannot be told apart, nor need be."""


@dataclass(frozen=True)
class LayerFit:
    """How far the input of one batch norm is from what it stored; 0 is perfect. ``eps`` is the batch norm's own.

    Attributes:
        variance_log_ratio: mean over channels of ``|ln((var_seen + eps) / (var_stored + eps))|``.
        mean_shift: mean over channels of ``|mean_seen - mean_stored| / sqrt(var_stored + eps)``.
    """

    node: str
    variance_log_ratio: float
    mean_shift: float


@dataclass(frozen=True)
class NormalisationFit:
    """One candidate: ``fit`` is the first batch norm's variance_log_ratio, under the better of the crops tried."""

    normalisation: Normalisation
    fit: float
    crop_padding: int


@dataclass(frozen=True)
class NormalisationChoice:
    """The candidates, best first (none if the network cannot tell), and whether the best is beyond doubt."""

    fits: tuple[NormalisationFit, ...]
    clear: bool

    @property
    def best(self) -> NormalisationFit | None:
        return self.fits[0] if self.fits else None

    def describe(self) -> str:
        """One line for a report: ``normalisation imagenet: off by 0.02, next cifar10 by 0.18``."""
        if self.best is None:
            return "the network has no batch norm before its first activation, so its normalisation cannot be told"
        doubt = "" if self.clear else "; not beyond doubt"
        rest = f", next {self.fits[1].normalisation.name} by {self.fits[1].fit:.2f}" if len(self.fits) > 1 else ""
        return f"normalisation {self.best.normalisation.name}: off by {self.best.fit:.2f}{rest}{doubt}"


def batch_norm_fit(graph: Graph, tensors: Mapping[str, Tensor], images: Tensor) -> tuple[LayerFit, ...]:
    """Every batch norm of ``graph``, in graph order, held against ``images``.

    The first layer that disagrees while those before it agree is where the graph departs from the network that was trained.

    Args:
        graph: a network without neurons; these fire on other statistics than those stored.
        images: float (N, C, H, W), normalised and cropped as in training.
    """
    if images.shape[1] != graph.input_shape[0]:
        raise UserError(f"the network takes {graph.input_shape[0]} channels, the images have {images.shape[1]}")
    return _fits(build(graph, tensors), graph, images.split(CHUNK))


class _Moments:
    """Mean and biased variance of each channel over all batches seen, summed in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        variance, mean = variance.double(), mean.double()
        self.count += len(x)
        self.total = self.total + len(x) * mean
        self.squares = self.squares + len(x) * (variance + mean.square())

    def result(self) -> tuple[Tensor, Tensor]:
        mean = self.total / self.count
        return mean, (self.squares / self.count - mean.square()).clamp_(min=0)


@torch.inference_mode()
def _fits(module: fx.GraphModule, graph: Graph, batches: Iterable[Tensor]) -> tuple[LayerFit, ...]:
    nodes = graph.of("batch_norm")
    moments = {node.name: _Moments() for node in nodes}
    for node in nodes:
        seen = moments[node.name]
        module.get_submodule(node.name).register_forward_pre_hook(lambda _, args, seen=seen: seen.add(args[0]))
    module.eval()
    for images in batches:
        module(images)
    stored = module.state_dict()
    return tuple(_fit(node, moments[node.name], stored) for node in nodes)


def _fit(node: Node, seen: _Moments, stored: Mapping[str, Tensor]) -> LayerFit:
    mean, variance = seen.result()
    eps = node.attr("eps")
    stored_mean, stored_variance = (stored[f"{node.name}.{slot}"].double() for slot in ("running_mean", "running_var"))
    ratio = ((variance + eps) / (stored_variance + eps)).log().abs().mean()
    shift = ((mean - stored_mean).abs() / (stored_variance + eps).sqrt()).mean()
    return LayerFit(node.name, ratio.item(), shift.item())


def rank_normalisations(
    graph: Graph, tensors: Mapping[str, Tensor], split: Split, *, images: int = 3000, seed: int = 0
) -> tuple[NormalisationFit, ...]:
    """The known normalisations for these images, the best fit to the network's first batch norm first.

    Each is tried with and without the usual random crop: black borders change the variances as much as a wrong
    normalisation does. Only the layers up to that batch norm run.

    Args:
        split: images the network was trained on, or others like them.
        images: how many of them to draw, by ``seed``.

    Returns:
        Nothing if no batch norm comes before the first activation: then no layer remembers the input's scale.

    Raises:
        UserError: if the network takes another number of channels than the images have.
    """
    channels = split.image_shape[0]
    if channels != graph.input_shape[0]:
        raise UserError(f"the network takes {graph.input_shape[0]} channels, the images have {channels}")
    stem = _up_to_first_batch_norm(graph)
    if stem is None:
        return ()
    owned = {name: tensors[name] for name in tensor_shapes(stem)}
    drawn = split.sample(images, seed)
    found = []
    for normalisation in candidates(channels):
        tried = [(_first_fit(stem, owned, drawn, normalisation, padding, seed), padding) for padding in CROP_PADDINGS]
        found.append(NormalisationFit(normalisation, *min(tried)))
    return tuple(sorted(found, key=lambda candidate: candidate.fit))


def _first_fit(
    stem: Graph, tensors: Mapping[str, Tensor], split: Split, normalisation: Normalisation, padding: int, seed: int
) -> float:
    batches = train_batches(split, CHUNK, seed=seed, epoch=0, normalisation=normalisation, crop_padding=padding)
    (fit,) = _fits(build(stem, tensors), stem, (images for images, _ in batches))
    return fit.variance_log_ratio


def _up_to_first_batch_norm(graph: Graph) -> Graph | None:
    """The part of ``graph`` that the first batch norm needs, that norm as its end; None if an activation is in it."""
    norms = graph.of("batch_norm")
    if not norms:
        return None
    needed = {norms[0].name}
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    nodes = tuple(node for node in graph if node.name in needed)
    if any(node.op in ("activation", "neuron", "gate") for node in nodes):
        return None
    return Graph((*nodes, Node(graph.nodes[-1].name, "output", (norms[0].name,), shape=norms[0].shape)))


def choose_normalisation(
    graph: Graph, tensors: Mapping[str, Tensor], split: Split, *, images: int = 3000, seed: int = 0
) -> NormalisationChoice:
    """:func:`rank_normalisations`, and whether its first can be relied on: see :data:`CLEAR_FIT`."""
    fits = rank_normalisations(graph, tensors, split, images=images, seed=seed)
    if not fits:
        return NormalisationChoice((), clear=False)
    best, *rest = fits
    others = [other.fit for other in rest if not _alike(best.normalisation, other.normalisation, split.image_shape[0])]
    clear = best.fit <= CLEAR_FIT and all(other >= CLEAR_RATIO * best.fit for other in others)
    return NormalisationChoice(fits, clear)


def _alike(one: Normalisation, other: Normalisation, channels: int) -> bool:
    def numbers(normalisation: Normalisation) -> Tensor:
        return torch.stack([torch.tensor(values).expand(channels) for values in (normalisation.mean, normalisation.std)])

    return bool((numbers(one) - numbers(other)).abs().max() <= SAME)
