"""What stands between a run and a teacher that is not fed or read as the student is.

Letters: T time steps, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.eight_bit import BITS, EightBit
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import IntegerConv2d, check_available
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.normalisation import Normalisation
from idsnn_convert.runtime.recipe import Recipe

BYTES = "int8"
"""The precision of a teacher that is made for it, rather than run in it."""


def tutor_of(recipe: Recipe, teacher: nn.Module | None, device: torch.device) -> nn.Module | None:
    """The teacher, frozen and in eval mode, if the recipe distills; else None.

    Raises:
        UserError: if it does and there is no teacher, or the recipe asks one in 8 bits and it is not or cannot be.
    """
    asks = recipe.loss.asks_teacher
    if not asks:
        return None
    if teacher is None:
        raise UserError(
            f"the recipe distills ({asks}), but there is no teacher",
            hint="Name one, or set loss.alpha=0 and loss.tap_weight=0.",
        )
    if recipe.run.teacher_precision == BYTES:
        check_bytes(recipe, device)
        if not any(isinstance(module, EightBit | IntegerConv2d) for module in teacher.modules()):
            problem = f"run.teacher_precision={BYTES}, but the teacher is a {type(teacher).__name__} that is not in 8 bits"
            raise UserError(problem, hint="idsnn_convert.runtime.eight_bit.in_eight_bits makes one.")
    return teacher.eval().requires_grad_(False)


def check_bytes(recipe: Recipe, device: torch.device) -> None:
    """Whether a run there can ask a teacher in 8 bits.

    Raises:
        UserError: if the machine does not multiply bytes or the recipe asks the teacher for gradients.
    """
    same = "Set run.teacher_precision=same."
    try:
        check_available(device, BITS)
    except UserError as error:
        raise UserError(f"run.teacher_precision={BYTES}: {error.problem}", hint=same) from error
    if recipe.loss.tap_weight and recipe.loss.tap == "gradient":
        problem = (
            f"loss.tap=gradient asks the teacher for gradients, which one in 8 bits (run.teacher_precision={BYTES}) has not"
        )
        raise UserError(problem, hint=same)


class Renormalised(nn.Module):
    """A network fed with images (B, C, H, W) that are normalised in another way than its own.

    Args:
        given, own: how the images are normalised, and how ``network`` wants them.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, given: Normalisation, own: Normalisation) -> None:
        super().__init__()
        self.network = network
        mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (given.mean, given.std))
        own_mean, own_std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (own.mean, own.std))
        self.register_buffer("scale", (std / own_std).float())
        self.register_buffer("shift", ((mean - own_mean) / own_std).float())

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        given: Tensor | tuple[Tensor, ...] = self.network(images * self.scale + self.shift)
        return given


class SpikingTutor(nn.Module):
    """A spiking network as a teacher: images (B, C, H, W) -> logits of each step (T, B, K), and the maps of its taps, each the
    mean over time.

    Attributes:
        readout: how one answer is made of all steps.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__()
        self.network, self.readout = network, network.readout

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, maps = self.network(images, maps=True)
        return (logits, *maps)
