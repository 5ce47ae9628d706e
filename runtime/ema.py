"""A second copy of a network whose weights are the moving average of those that learn.

It is often better than the last weights, above all while the learning rate is high. Source: Polyak & Juditsky 1992;
in this form, Tarvainen & Valpola 2017.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """``average <- d average + (1 - d) weights`` after each step, ``d = min(decay, (1 + n) / (10 + n))`` after n steps:
    at first it follows fast, so that the weights a run began with do not linger.

    The running statistics of batch norms are averaged likewise, for they belong to the weights they were measured under.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """``step``: how many steps were made before the last one."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for own, other in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if own.is_floating_point():
                own.lerp_(other, share)
            else:
                own.copy_(other)
