"""From losses to new weights: gradients, their scale and length, the optimiser's step, the average that follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.data.batches import Batch
from idsnn_convert.runtime.distributed import ALONE, World
from idsnn_convert.runtime.ema import Average
from idsnn_convert.runtime.optimizers import make_optimizer
from idsnn_convert.runtime.recipe import Recipe


def micro_batches(images: Tensor, labels: Tensor, count: int) -> Iterator[Batch]:
    """A batch in ``count`` parts that differ by one image at most; in fewer if it has fewer images."""
    parts = min(count, len(images))
    yield from zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True)


class Updates:
    """What changes a network's weights, and all that is remembered for it from one step to the next.

    Attributes:
        optimizer: the recipe's.
        scaler: keeps float16's gradients above the smallest number it has; does nothing for other precisions.
        average: the moving average of the weights, if the recipe asks for it.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device) -> None:
        self.network, self.clip = network, recipe.optimizer.grad_clip
        self.optimizer = make_optimizer(network.parameters(), recipe.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.run.precision == "float16")
        self.average = Average(network, recipe.run.ema_decay) if recipe.run.ema_decay else None

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of ``loss`` to those that are there."""
        self.scaler.scale(loss).backward()

    def step(self, lr: float, step: int, world: World = ALONE) -> None:
        """New weights from the gradients of all processes, which are gone afterwards; ``step`` were made before.

        In float16 gradients that overflow are thrown away and the next are scaled by half as much.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        world.add_up(parameter.grad for parameter in self.network.parameters() if parameter.grad is not None)
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.follow(self.network, step)

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors, by name, and the numbers that the next step needs."""
        tensors = {}
        for name, parameter in self.network.named_parameters():
            for key, tensor in self.optimizer.state[parameter].items():
                if tensor is not None:
                    tensors[f"optimizer.{key}.{name}"] = tensor
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.network.state_dict().items()}
        return tensors, self.scaler.state_dict()

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Puts what :meth:`snapshot` took of a network with the same names and shapes back."""
        parameters = dict(self.network.named_parameters())
        for full, tensor in tensors.items():
            kind, _, rest = full.partition(".")
            if kind == "optimizer":
                key, _, name = rest.partition(".")
                own = parameters[name]
                like = tensor.shape == own.shape and key != "step"  # as the weight lies in memory; a step counter on the CPU
                self.optimizer.state[own][key] = torch.empty_like(own.detach()).copy_(tensor) if like else tensor.clone()
        if self.average is not None:
            for name, tensor in self.average.network.state_dict().items():
                tensor.copy_(tensors[f"average.{name}"])
        self.scaler.load_state_dict(dict(numbers))
