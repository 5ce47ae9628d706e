"""What a network's batch norms remember of its training data: how the images were normalised and cropped.

A batch norm stores the mean and variance of its input over the training set. Real images fed through the network
must give the same numbers again; a wrong normalisation, or a layer that is not as its author wrote it, does not.

Letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.data.types import Split
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.normalisation import KNOWN, Normalisation, candidates
from idsnn_convert.runtime.recipe import Augment

CHUNK = 250
"""Images taken at once."""

PATCH_ELEMENTS = 4_000_000
"""Most numbers in the patches of a forward pass, which large images and kernels would make many."""

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
        seen, stored: mean over channels of the variance that the images give, and of that which is stored.
    """

    node: str
    variance_log_ratio: float
    mean_shift: float
    seen: float = math.nan
    stored: float = math.nan

    @property
    def off_by(self) -> float:
        """Both as one number: of a wrong layer the means are off about two thirds as far as the variances."""
        return max(self.variance_log_ratio, 1.5 * self.mean_shift)


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
            return "no batch norm follows the network's first convolution, so its normalisation cannot be told"
        doubt = "" if self.clear else "; not beyond doubt"
        rest = f", next {self.fits[1].normalisation.name} by {self.fits[1].fit:.2f}" if len(self.fits) > 1 else ""
        return f"normalisation {self.best.normalisation.name}: off by {self.best.fit:.2f}{rest}{doubt}"


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of ``x`` (N, C, H, W), float64 (C,), summed in pieces of :data:`CHUNK`."""
    count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for chunk in x.split(CHUNK):
        variance, mean = (part.double() for part in torch.var_mean(chunk, (0, 2, 3), correction=0))
        count += len(chunk)
        total = total + len(chunk) * mean
        squares = squares + len(chunk) * (variance + mean.square())
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_(min=0)


def layer_fit(node: Node, x: Tensor, tensors: Mapping[str, Tensor]) -> LayerFit:
    """How far the input ``x`` (N, C, H, W) of the batch norm ``node`` is from what it stored."""
    return _fit(node, moments(x), tensors)


def _fit(node: Node, seen: tuple[Tensor, Tensor], stored: Mapping[str, Tensor]) -> LayerFit:
    """``seen``: mean and variance of each channel, float64."""
    mean, variance = seen
    eps = node.attr("eps")
    stored_mean, stored_variance = (stored[f"{node.name}.{slot}"].double() for slot in ("running_mean", "running_var"))
    ratio = ((variance + eps) / (stored_variance + eps)).log()
    shift = ((mean - stored_mean).abs() / (stored_variance + eps).sqrt()).mean()
    return LayerFit(node.name, ratio.abs().mean().item(), shift.item(), variance.mean().item(), stored_variance.mean().item())


def rank_normalisations(
    graph: Graph, tensors: Mapping[str, Tensor], split: Split, *, images: int = 3000, seed: int = 0
) -> tuple[NormalisationFit, ...]:
    """The known normalisations for these images, the best fit to the network's first batch norm first.

    Each is tried with and without the usual random crop: black borders change the variances as much as a wrong
    normalisation does.

    Args:
        split: images the network was trained on, or others like them.
        images: how many of them to draw, by ``seed``.

    Returns:
        Nothing if the first batch norm does not read a convolution of the input, for then it remembers no scale.

    Raises:
        UserError: if the network takes another number of channels than the images have.
    """
    channels = split.image_shape[0]
    if channels != graph.input_shape[0]:
        raise UserError(f"the network takes {graph.input_shape[0]} channels, the images have {channels}")
    stem = _stem(graph)
    if stem is None:
        return ()
    conv, norm = stem
    drawn = split.sample(images, seed)
    patches = [(padding, _patch_moments(conv, drawn, padding, seed)) for padding in CROP_PADDINGS]
    found = []
    for normalisation in candidates(channels):
        tried = [(_first_fit(conv, norm, tensors, moments, normalisation), padding) for padding, moments in patches]
        found.append(NormalisationFit(normalisation, *min(tried)))
    return tuple(sorted(found, key=lambda candidate: candidate.fit))


def _stem(graph: Graph) -> tuple[Node, Node] | None:
    """The convolution of the input and the batch norm after it, if these begin the network."""
    norms = graph.of("batch_norm")
    conv = graph[norms[0].inputs[0]] if norms else graph.nodes[0]
    fits = conv.op == "conv2d" and graph[conv.inputs[0]].op == "input" and conv.attr("groups") == 1
    return (conv, norms[0]) if fits else None


def _patch_moments(conv: Node, split: Split, padding: int, seed: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of what ``conv`` sees: D = (C + 1) kh kw pixels from 0 to 1, and as channel
    C + 1 a 1 wherever there is a pixel and not the convolution's own padding.

    What a convolution gives is linear in these whatever the normalisation, so they answer for every candidate.
    """
    per_image = (split.image_shape[0] + 1) * math.prod(conv.attr("kernel")) * math.prod(conv.shape[1:])
    batch_size = max(1, min(CHUNK, PATCH_ELEMENTS // per_image))
    augment = Augment(crop_padding=padding)
    batches = train_batches(split, batch_size, seed=seed, epoch=0, normalisation=KNOWN["none"], augment=augment)
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for images, _ in batches:
        rows = _patches(conv, torch.cat([images, torch.ones_like(images[:, :1])], 1))
        count += rows.shape[1]
        total, squares = total + rows.sum(1), squares + rows @ rows.T
    mean = total / count
    return mean, squares / count - mean.outer(mean)


def _patches(conv: Node, images: Tensor) -> Tensor:
    """(B, C, H, W) -> float64 (C kh kw, B positions): what each weight of ``conv`` meets, zeros where it pads.

    torch's own unfold starts its threads anew for every image: seconds instead of milliseconds on a busy machine.
    """
    (down, right), (high, wide) = conv.attr("padding"), conv.attr("kernel")
    (step_down, step_right), (dilation_down, dilation_right) = conv.attr("stride"), conv.attr("dilation")
    padded = F.pad(images.transpose(0, 1).double(), (right, right, down, down))  # (C, B, H, W)
    bottom = padded.shape[2] - dilation_down * (high - 1)
    edge = padded.shape[3] - dilation_right * (wide - 1)
    met = [
        padded[:, :, i : i + bottom : step_down, j : j + edge : step_right]
        for i in range(0, dilation_down * high, dilation_down)
        for j in range(0, dilation_right * wide, dilation_right)
    ]
    return torch.stack(met, 1).flatten(2).flatten(0, 1)


def _first_fit(
    conv: Node, norm: Node, tensors: Mapping[str, Tensor], moments: tuple[Tensor, Tensor], normalisation: Normalisation
) -> float:
    """The fit of ``norm`` if the pixels are normalised so: the weights w of (x - m) / s are w / s on x and -w m / s on 1."""
    weight = tensors[f"{conv.name}.weight"].double()
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (normalisation.mean, normalisation.std))
    scaled = weight / std
    rows = torch.cat([scaled, -(scaled * mean).sum(1, keepdim=True)], 1).flatten(1)  # (K, D)
    bias = tensors[f"{conv.name}.bias"].double() if conv.attr("bias") else 0
    seen = rows @ moments[0] + bias, ((rows @ moments[1]) * rows).sum(1).clamp(min=0)
    return _fit(norm, seen, tensors).variance_log_ratio


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
