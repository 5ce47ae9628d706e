"""Optimisers by name, and which weights decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn, optim

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.recipe import Optimizer

Group = dict[str, Any]
Make = Callable[[list[Group], Optimizer], optim.Optimizer]


def _sgd(groups: list[Group], settings: Optimizer) -> optim.Optimizer:
    return optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)


def _adam(groups: list[Group], settings: Optimizer) -> optim.Optimizer:
    return optim.Adam(groups, lr=settings.lr, betas=(settings.momentum, settings.beta2), eps=settings.eps)


def _adamw(groups: list[Group], settings: Optimizer) -> optim.Optimizer:
    return optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, settings.beta2), eps=settings.eps)


OPTIMIZERS: dict[str, Make] = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}
"""Name in a recipe -> optimiser. In sgd and adam weight decay is part of the gradient; in adamw (Loshchilov & Hutter
2019) each step takes ``lr weight_decay`` of the weight itself."""


def make_optimizer(parameters: Iterable[nn.Parameter], settings: Optimizer) -> optim.Optimizer:
    """The optimiser of a recipe over ``parameters``, with weight decay on all of them or on those that are no vectors.

    Scalars, which are what neurons learn, never decay: 0 means nothing to them.

    Raises:
        UserError: if the settings do not go together.
    """
    if settings.nesterov and (settings.name != "sgd" or not settings.momentum):
        problem = f"optimizer.nesterov goes with sgd and a momentum, not with {settings.name} and {settings.momentum:g}"
        raise UserError(problem, hint="Set optimizer.nesterov=false.")
    kept = [parameter for parameter in parameters if parameter.requires_grad]
    least = 1 if settings.decay_norm_and_bias else 2
    decayed, spared = [p for p in kept if p.dim() >= least], [p for p in kept if p.dim() < least]
    groups: list[Group] = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return OPTIMIZERS[settings.name]([group for group in groups if group["params"]], settings)
