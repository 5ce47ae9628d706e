"""Learning rate schedules: a pure function of the step, so that a resumed run needs no scheduler's state."""

from __future__ import annotations

import math

from idsnn_convert.runtime.recipe import Schedule


def lr_at(settings: Schedule, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of iteration ``step``, counted from 0 over the whole run.

    step: ``base gamma^n``, n the milestones reached; cosine: ``base (f + (1 - f) (1 + cos(pi p)) / 2)``, f the floor,
    p from 0 after the warm-up to 1 at the end (Loshchilov & Hutter 2017). Over the first ``warmup_epochs`` the rate
    rises linearly to ``base`` instead, whatever the kind.
    """
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return base * (step + 1) / warmup
    if settings.kind == "step":
        return float(base * settings.gamma ** sum(step >= _step_of(m, steps_per_epoch, epochs) for m in settings.milestones))
    if settings.kind == "cosine":
        done = (step - warmup) / max(steps_per_epoch * epochs - warmup, 1)
        return base * (settings.floor + (1 - settings.floor) * (1 + math.cos(math.pi * done)) / 2)
    return base


def _step_of(milestone: float, steps_per_epoch: int, epochs: int) -> int:
    """A milestone below 1 is a fraction of the epochs, any other an epoch."""
    return round((milestone * epochs if milestone < 1 else milestone) * steps_per_epoch)
