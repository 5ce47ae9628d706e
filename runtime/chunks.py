"""A spiking network run a few time steps at a time, for T too long to keep in memory.

Of a chunk of steps only its input and each neuron's potential at its end are kept (and the traces of a spike activation
map); the rest is computed again when the gradient comes back to it (activation checkpointing, Chen et al. 2016, along
time). Activations of T steps shrink to those of k steps and T / k potentials, least at k about sqrt(T), for one more
forward.

Contract: exact, to the bit, for a network without batch norm or in evaluation mode. A batch norm in training takes its
statistics over each chunk instead of over all steps; its running statistics move once a batch, by the mean of the
chunks' statistics.

Letters: T time steps, B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.modules import Dropout


class Lasting(Protocol):
    """A module that knows how many steps a forward takes."""

    time_steps: int


@runtime_checkable
class Carrying(Lasting, Protocol):
    """One that goes on where it left off: a neuron from its potential, a spike activation map from its traces."""

    carries: bool
    start: Tensor | None
    end: Tensor | None


def chunked(
    body: nn.Module,
    encode: Callable[[int], Tensor],
    lasting: Sequence[Lasting],
    time_steps: int,
    chunk: int,
    constant: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Logits (T, B, K) of ``body``, ``chunk`` steps at a time, the last chunk what is left; and the mean over time
    (B, ...) of whatever else ``body`` gives.

    Args:
        encode: gives the next so many steps of the input, (steps*B, ...), or (B, ...) if it is the same at every step; so
            that what is not learned from need not be kept for all T.
        lasting: the modules of ``body`` that know how many steps a forward takes.
        constant: whether the input is the same at every step.
    """
    lasts = [module for module in lasting if isinstance(module, Carrying)]
    norms = [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    dropouts = [module for module in lasting if isinstance(module, Dropout)]
    seeds = [module.seed for module in dropouts]

    def run(part: Tensor, steps: int, *starts: Tensor | None) -> tuple[Tensor, ...]:
        """What each module carries on after ``steps`` steps, their logits, and the sums over them of what else there is."""
        images = len(part) if constant else len(part) // steps
        for dropout, seed in zip(dropouts, seeds, strict=True):
            dropout.seed = seed  # another forward may have come between this one and its backward
        with lasting_for(lasting, steps, time_steps), carrying(lasts, starts):
            given = body(part)
            logits, *more = (value.unflatten(0, (steps, images)) for value in (given if isinstance(given, tuple) else (given,)))
            return *(module.end for module in lasts if module.end is not None), logits, *(value.sum(0) for value in more)

    momenta, found = [norm.momentum or 0.0 for norm in norms], []
    states: Sequence[Tensor | None] = [None] * len(lasts)
    for first in range(0, time_steps, chunk):
        steps = min(chunk, time_steps - first)
        part = encode(steps)
        shares = [_share(momentum, steps, time_steps - first, time_steps) for momentum in momenta]
        if torch.is_grad_enabled():

            def contexts(shares: list[float] = shares) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
                return _following(norms, shares), _following(norms, [0.0] * len(norms))

            given = checkpoint(run, part, steps, *states, use_reentrant=False, context_fn=contexts)
        else:
            with _following(norms, shares):
                given = run(part, steps, *states)
        states = given[: len(lasts)]
        found.append(given[len(lasts) :])
    logits, *sums = zip(*found, strict=True)
    return torch.cat(logits), [sum(parts) / time_steps for parts in sums]


@torch.inference_mode()
def streamed(
    body: nn.Module, encode: Callable[[int], Tensor], lasting: Sequence[Lasting], time_steps: int, chunk: int
) -> Iterator[Tensor]:
    """What ``body`` gives, ``chunk`` steps at a time, (k, B, ...), in evaluation mode: nothing is kept from one to the next but
    what each module carries on. The arguments are those of :func:`chunked`.
    """
    lasts = [module for module in lasting if isinstance(module, Carrying)]
    states: list[Tensor | None] = [None] * len(lasts)
    for first in range(0, time_steps, chunk):
        steps = min(chunk, time_steps - first)
        with lasting_for(lasting, steps, time_steps), carrying(lasts, states):
            given = body(encode(steps))
            states = [module.end for module in lasts]
        yield given.unflatten(0, (steps, len(given) // steps))


LARGEST = 1 << 24
"""Most elements that one map of the steps run at a time may have, all images together: 64 MiB of float32."""


def steps_at_once(graph: Graph, images: int, largest: int = LARGEST) -> int:
    """How many time steps of so many images to run at a time, so that no map has more than ``largest`` elements; at least 1."""
    return max(1, largest // (images * max(math.prod(node.shape) for node in graph)))


def _share(momentum: float, steps: int, left: int, time_steps: int) -> float:
    """The momentum of a chunk of ``steps`` steps, ``left`` to go with it, so that all chunks together move the running
    statistics by ``momentum`` and each counts by its steps."""
    return momentum * steps / (time_steps - momentum * (left - steps))


@contextmanager
def _following(norms: Sequence[nn.BatchNorm2d], momenta: Sequence[float]) -> Iterator[None]:
    """Within, running statistics move by ``momenta``; 0 lets them rest."""
    before = [norm.momentum for norm in norms]
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    try:
        yield
    finally:
        for norm, usual in zip(norms, before, strict=True):
            norm.momentum = usual


@contextmanager
def lasting_for(modules: Sequence[Lasting], steps: int, usual: int) -> Iterator[None]:
    """Within, a forward takes ``steps`` steps."""
    for module in modules:
        module.time_steps = steps
    try:
        yield
    finally:
        for module in modules:
            module.time_steps = usual


@contextmanager
def carrying(modules: Sequence[Carrying], starts: Sequence[Tensor | None]) -> Iterator[None]:
    """Within, each module begins with its state of ``starts`` and keeps the one it ends with."""
    for module, start in zip(modules, starts, strict=True):
        module.carries, module.start = True, start
    try:
        yield
    finally:
        for module in modules:
            module.carries, module.start, module.end = False, None, None
