"""How the logits of each time step become one answer.

Letters: T time steps, B batch, K classes; z[t] the logits of step t, counted from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from idsnn_convert.runtime.errors import UserError

KINDS = ("mean", "membrane")


@dataclass(frozen=True)
class Readout:
    """The answer after T steps.

    ``mean``: the mean of z[1] ... z[T]. Where the head is linear this equals the head applied to the features' mean over
    time (IDSNN section 3.2).
    ``membrane``: an output neuron that never fires, ``U[t] = decay U[t-1] + z[t]``, read as ``U[T] / (1 + decay + ... +
    decay^(T-1))``. Without leak (``decay = 1``, LaSNN eq. 3-4) this is U[T] / T, the mean again; with leak later steps
    count more.
    """

    kind: str = "mean"
    decay: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"unknown readout {self.kind!r}", hint=f"Known: {', '.join(KINDS)}.")
        if not 0 < self.decay <= 1:
            raise UserError(f"the readout's decay must be above 0 and up to 1, not {self.decay:g}")
        if self.kind == "mean" and self.decay != 1:
            raise UserError("a mean over time has no leak", hint="Use the membrane readout for a decay below 1.")

    def __call__(self, logits: Tensor) -> Tensor:
        """(T, B, K) -> (B, K)."""
        return logits.mean(0) if self.decay == 1 else self.after_each_step(logits)[-1]

    def after_each_step(self, logits: Tensor) -> Tensor:
        """The answer had it stopped after 1, 2, ... T steps: (T, B, K) -> (T, B, K)."""
        potential, weight, found = torch.zeros_like(logits[0]), 0.0, []
        for step in logits:
            potential, weight = self.decay * potential + step, self.decay * weight + 1
            found.append(potential / weight)
        return torch.stack(found)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def readout_from_json(value: Any) -> Readout:
    """The readout that :meth:`Readout.to_json` wrote.

    Raises:
        UserError: if ``value`` is not such an object.
    """
    if not isinstance(value, Mapping) or value.keys() != {"kind", "decay"} or type(value["decay"]) not in (int, float):
        raise UserError(f"a readout is an object with kind and decay, not {value!r:.80}")
    return Readout(str(value["kind"]), float(value["decay"]))
