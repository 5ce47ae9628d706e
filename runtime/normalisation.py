"""How pixels become the numbers a network was trained on: ``(x / 255 - mean) / std``, channel by channel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from idsnn_convert.runtime.errors import UserError


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, in units of the pixel range 0 to 1.

    One value stands for every channel.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise UserError(f"normalisation {self.name!r} has {len(self.mean)} means and {len(self.std)} deviations")
        if not all(math.isfinite(value) for value in self.mean):
            raise UserError(f"normalisation {self.name!r}: the means must be finite, not {self.mean}")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise UserError(f"normalisation {self.name!r}: the deviations must be above 0 and finite, not {self.std}")

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 (B, C, H, W), in the order of operations of torchvision's transforms.

        Raises:
            UserError: if the images have another number of channels.
        """
        if not self.fits(images.shape[1]):
            raise UserError(f"normalisation {self.name!r} is for {len(self.mean)} channels, the images have {images.shape[1]}")
        mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return images.float().div_(255).sub_(mean).div_(std)

    def fits(self, channels: int) -> bool:
        """Whether it can be applied to images of so many channels."""
        return len(self.mean) in (1, channels)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "mean": list(self.mean), "std": list(self.std)}


def from_json(value: Any) -> Normalisation:
    """The normalisation that :meth:`Normalisation.to_json` wrote.

    Raises:
        UserError: if ``value`` is not such an object.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise UserError(f"a normalisation is an object with name, mean and std, not {value!r:.80}")
    found = []
    for key in ("mean", "std"):
        numbers = value.get(key)
        if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
            raise UserError(f"normalisation {value['name']!r:.80}: {key} must be a list of numbers, not {numbers!r:.80}")
        found.append(tuple(float(number) for number in numbers))
    return Normalisation(value["name"], found[0], found[1])


KNOWN: dict[str, Normalisation] = {
    found.name: found
    for found in (
        Normalisation("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        Normalisation("cifar10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        # The deviations of kuangliu/pytorch-cifar, copied far and wide: means of the images' own deviations.
        Normalisation("cifar10-kuangliu", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        Normalisation("cifar100", (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
        Normalisation("fashion-mnist", (0.2860,), (0.3530,)),
        Normalisation("half", (0.5,), (0.5,)),
        Normalisation("none", (0.0,), (1.0,)),
    )
}
"""The normalisations in common use, by name."""

MEASURED = "measured"
"""Stands for the mean and deviation of the training images themselves."""

_ANY_CHANNELS = ("half", "none")


def candidates(channels: int) -> tuple[Normalisation, ...]:
    """The known normalisations made for images of so many channels."""
    return tuple(found for found in KNOWN.values() if len(found.mean) == channels or found.name in _ANY_CHANNELS)


def parse(text: str) -> Normalisation:
    """A known name, or means and deviations: ``0.49,0.48,0.45/0.25,0.24,0.26``; one value stands for every channel.

    Raises:
        UserError: on an unknown name, or numbers that make no normalisation.
    """
    if text in KNOWN:
        return KNOWN[text]
    way = f"Give MEANS/DEVIATIONS, such as 0.49,0.48,0.45/0.25,0.24,0.26, or a name: {', '.join(KNOWN)}, {MEASURED}."
    if "/" not in text:
        near = get_close_matches(text, KNOWN, n=1)
        raise UserError(f"unknown normalisation {text!r}", hint=f"Did you mean {near[0]!r}? {way}" if near else way)
    try:
        mean, std = (tuple(float(number) for number in part.split(",")) for part in text.split("/"))
    except ValueError as error:
        raise UserError(f"normalisation {text!r} is not two lists of numbers", hint=way) from error
    if any(abs(value) > 1 for value in (*mean, *std)):
        raise UserError(f"normalisation {text!r}: the numbers are for pixels from 0 to 1", hint="Divide them by 255.")
    return Normalisation(text, mean, std)


def measured(batches: Iterable[Tensor]) -> Normalisation:
    """The mean and deviation of each channel over all pixels of ``batches``, uint8 (B, C, H, W), as ``measured``.

    Sums of whole numbers, so the result does not depend on how the images are batched. A channel of one value gets
    deviation 1.

    Raises:
        UserError: if there are no images.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for images in batches:
        pixels = images.double()
        count += pixels[:, 0].numel()
        total, squares = total + pixels.sum((0, 2, 3)), squares + pixels.square().sum((0, 2, 3))
    if not count:
        raise UserError("there are no images to measure the normalisation of")
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 0, std, 255)
    return Normalisation(MEASURED, tuple((mean / 255).tolist()), tuple((std / 255).tolist()))
