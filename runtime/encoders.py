"""Encoders: how an image becomes T inputs. A frozen time axis is left out where every step is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Encoder = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class EncoderKind:
    make: Callable[[], Encoder]
    constant: bool  # every step sees the same values, so the encoder gives (B, ...) and not (T*B, ...)


def direct(images: Tensor, time_steps: int) -> Tensor:
    """The analog image as the current of every step (IDSNN section 3.2.2): (B, C, H, W) -> (B, C, H, W)."""
    return images


class Poisson:
    """A spike of the pixel's sign where a fresh uniform number is below its magnitude: (B, ...) -> (T*B, ...).

    Pixels beyond magnitude 1 spike at every step. Draws from ``generator``, or from torch's global state.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def __call__(self, images: Tensor, time_steps: int) -> Tensor:
        shape = (time_steps, *images.shape)
        drawn = torch.rand(shape, generator=self.generator, device=images.device, dtype=images.dtype)
        return ((drawn < images.abs()) * images.sign()).flatten(0, 1)


ENCODERS: dict[str, EncoderKind] = {
    "direct": EncoderKind(lambda: direct, constant=True),
    "poisson": EncoderKind(Poisson, constant=False),
}
"""Name in a checkpoint or a recipe -> encoder."""
