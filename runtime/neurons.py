"""Spiking neurons: pure step functions, and the module that runs one over all time steps.

Letters: T time steps, B batch, C channels, H height, W width. Membrane potentials have no unit; a spike is 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Attr, Shape
from idsnn_convert.runtime.plif import DECAY, THRESHOLD, decay_logit, learned_spikes_and_last
from idsnn_convert.runtime.surrogates import SURROGATES

KINDS = ("lif", "if")
RESETS = ("hard", "soft")
LEARNT = ("learn_decay", "learn_threshold")


@dataclass(frozen=True)
class Neuron:
    """What one spiking neuron layer is. The defaults are IDSNN's (Fan et al. 2023; values of its authors' code).

    ``decay`` is exp(-1 / tau), the share of the potential kept from one step to the next (1 for ``if``).
    ``width`` is the surrogate's half-width, ``lens`` in the paper; ``damping`` a factor on its slope, against gradients that
    grow from step to step (Bellec et al. 2018: 0.3; LaSNN eq. 15). With ``learn_decay`` or ``learn_threshold`` the layer
    owns a parameter for it, see :mod:`idsnn_convert.runtime.plif`, and the number here is where learning starts.
    """

    kind: str = "lif"
    v_threshold: float = 0.5
    decay: float = 0.25
    reset: str = "hard"
    surrogate: str = "rectangle"
    width: float = 0.5
    learn_decay: bool = False
    learn_threshold: bool = False
    damping: float = 1.0

    @property
    def tau(self) -> float:
        """Membrane time constant in time steps: -1 / ln(decay); infinite for a neuron without leak."""
        return math.inf if self.decay >= 1 else -1 / math.log(self.decay)

    @property
    def height(self) -> float:
        """Of the rectangle's slope where it is not 0."""
        return self.damping / (2 * self.width)

    def slope(self, x: Tensor) -> Tensor:
        """The surrogate's at ``x = U - v_threshold``."""
        found = SURROGATES[self.surrogate](x, self.width)
        return found if self.damping == 1 else found * self.damping

    def attrs(self) -> dict[str, Attr]:
        """The attributes of a graph node that is this neuron; what it does not learn and a damping of 1 are left out."""
        given = {key: value for key, value in asdict(self).items() if value is not False}
        return {key: value for key, value in given.items() if key != "damping" or value != 1}

    def parameters(self) -> dict[str, float]:
        """Name of each parameter the layer learns -> its value at the start."""
        found = {DECAY: decay_logit(self.decay)} if self.learn_decay else {}
        return {**found, THRESHOLD: math.log(self.v_threshold)} if self.learn_threshold else found


def neuron_from_attrs(attrs: Mapping[str, Attr]) -> SpikingNeuron:
    """The neuron module that a graph node's attributes describe.

    Raises:
        UserError: on an unknown kind, reset or surrogate, or a number out of range.
    """
    return SpikingNeuron(checked(attrs))


def checked(attrs: Mapping[str, Attr]) -> Neuron:
    """The :class:`Neuron` these attributes describe.

    Raises:
        UserError: on a missing or unknown value, naming it.
    """
    for key, known in (("kind", KINDS), ("reset", RESETS), ("surrogate", tuple(SURROGATES))):
        if attrs.get(key) not in known:
            raise UserError(f"neuron {key} {attrs.get(key)!r} is unknown", hint=f"Known: {', '.join(known)}.")
    given = {"damping": 1.0, **attrs}
    ranges = (("v_threshold", 0.0, math.inf), ("decay", 0.0, 1.0), ("width", 0.0, math.inf), ("damping", 0.0, 1.0))
    for key, low, high in ranges:
        value = given.get(key)
        if not isinstance(value, float | int) or isinstance(value, bool) or not low < value <= high or math.isinf(value):
            raise UserError(f"neuron {key} must be a number above {low:g} and up to {high:g}, not {value!r}")
    flags = [attrs.get(key, False) for key in LEARNT]
    if not all(isinstance(flag, bool) for flag in flags):
        raise UserError(f"neuron {' and '.join(LEARNT)} are true or false, not {flags}")
    if flags[0] and attrs["decay"] == 1:
        raise UserError("a neuron of decay 1 has no leak to learn", hint="Start from a decay below 1, kind lif.")
    numbers = (float(attrs["v_threshold"]), float(attrs["decay"]))  # type: ignore[arg-type]
    names = (str(attrs["reset"]), str(attrs["surrogate"]))
    width, damping = float(attrs["width"]), float(given["damping"])  # type: ignore[arg-type]
    return Neuron(str(attrs["kind"]), *numbers, *names, width, bool(flags[0]), bool(flags[1]), damping)


def usual_neuron(kind: str = "lif") -> Neuron:
    """The neuron of that kind where nothing else is asked for: an ``if`` neuron does not leak."""
    return Neuron(kind, decay=1.0) if kind == "if" else Neuron(kind)


def asked(kind: str, v_threshold: float, decay: float, reset: str, surrogate: str, width: float) -> Neuron:
    """The neuron of these fixed numbers.

    Raises:
        UserError: as :func:`checked`; and for an ``if`` neuron that leaks.
    """
    neuron = checked(Neuron(kind, v_threshold, decay, reset, surrogate, width).attrs())
    if kind == "if" and decay != 1:
        raise UserError(f"an if neuron keeps all its potential; its decay is 1, not {decay:g}", hint="Take a lif neuron.")
    return neuron


def learnt(neuron: Neuron, name: str, tensors: Mapping[str, Tensor]) -> Neuron:
    """``neuron`` with the decay and threshold that its layer's tensors ``name.slot`` hold, if any."""
    found = {slot: tensors[f"{name}.{slot}"].item() for slot in neuron.parameters() if f"{name}.{slot}" in tensors}
    decay = 1 / (1 + math.exp(-found[DECAY])) if DECAY in found else neuron.decay
    return replace(neuron, decay=decay, v_threshold=math.exp(found[THRESHOLD]) if THRESHOLD in found else neuron.v_threshold)


def parameter_shapes(attrs: Mapping[str, Attr]) -> dict[str, Shape]:
    """The tensors that a neuron node of these attributes owns: a scalar for each number it learns."""
    return {name: () for key, name in zip(LEARNT, (DECAY, THRESHOLD), strict=True) if attrs.get(key)}


def step(u: Tensor, fired: Tensor, x: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """One time step, IDSNN eq. 2-3: ``U[t] = decay U[t-1] (1 - F[t-1]) + X[t]``, ``F[t] = U[t] > v_threshold``.

    With a soft reset the fired neuron loses ``v_threshold`` instead of all its potential. The input is not scaled
    by (1 - decay); the comparison is strict.

    Args:
        u, fired: potential and spikes of the step before, any one shape; zeros before the first step.
        x: input current of this step, same shape.

    Returns:
        The new ``(u, fired)``.
    """
    kept = u * (1 - fired) if neuron.reset == "hard" else u - neuron.v_threshold * fired
    u = neuron.decay * kept + x
    return u, (u > neuron.v_threshold).to(x.dtype)


class _Spike(torch.autograd.Function):
    """F = U > v_threshold with the surrogate's slope backward: the textbook form, for reference and single steps."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, neuron: Neuron) -> Tensor:
        ctx.save_for_backward(u)
        ctx.neuron = neuron
        return (u > neuron.v_threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        neuron = ctx.neuron
        return grad * neuron.slope(u - neuron.v_threshold), None


def unrolled(x: Tensor, neuron: Neuron) -> Tensor:
    """The reference: :func:`step` over time, differentiated by autograd, the reset detached.

    Args:
        x: input currents (T, ...).

    Returns:
        Spikes (T, ...) of 0 and 1.
    """
    u, fired, spikes = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for current in x:
        u, _ = step(u, fired.detach(), current, neuron)
        fired = _Spike.apply(u, neuron)  # type: ignore[no-untyped-call]
        spikes.append(fired)
    return torch.stack(spikes)


class _MultiStep(torch.autograd.Function):
    """All steps at once, with the closed-form backward

    ``dU[t] = dF[t] slope(U[t] - v_threshold) + decay K[t] dU[t+1]``, ``dX[t] = dU[t]``,

    where ``K[t] = 1 - F[t]`` for the hard reset and 1 for the soft one. Equal to autograd through
    :func:`unrolled`, without keeping its graph: the rectangle saves one byte a step, the others their slope.
    Gives the spikes and the last potential, before its reset.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        spikes, slopes = torch.empty_like(x), []
        hard, u = neuron.reset == "hard", x[0]
        saving = ctx.needs_input_grad[0]
        for t, current in enumerate(x):
            u = current if t == 0 else torch.add(current, u, alpha=neuron.decay)
            fired = u > neuron.v_threshold
            spikes[t] = fired
            if saving:
                slopes.append(_saved_slope(u, neuron))
            if t + 1 < len(x):
                u = u.masked_fill(fired, 0) if hard else u.sub(spikes[t], alpha=neuron.v_threshold)
        if saving:
            ctx.save_for_backward(spikes if hard else None, *slopes)
            ctx.neuron = neuron
        return spikes, u.clone() if len(x) == 1 else u  # no view of the input

    @staticmethod
    def backward(ctx: Any, grad: Tensor, last: Tensor | None) -> tuple[Tensor, None]:
        neuron: Neuron = ctx.neuron
        spikes, *slopes = ctx.saved_tensors
        scale = neuron.height if neuron.surrogate == "rectangle" else 1.0
        du = torch.empty_like(grad)
        for t in reversed(range(len(slopes))):
            torch.mul(grad[t], slopes[t], out=du[t])
            if scale != 1:
                du[t].mul_(scale)
            if t + 1 < len(slopes):
                carried = du[t + 1] if spikes is None else du[t + 1].masked_fill(spikes[t] > 0, 0)
                du[t].add_(carried, alpha=neuron.decay)
            elif last is not None:
                du[t].add_(last)
        return du, None


def _saved_slope(u: Tensor, neuron: Neuron) -> Tensor:
    """The surrogate's slope at ``u``; for the rectangle only where it is not 0, as booleans."""
    x = u - neuron.v_threshold
    return x.abs_() < neuron.width if neuron.surrogate == "rectangle" else neuron.slope(x)


def multi_step(x: Tensor, neuron: Neuron) -> Tensor:
    """Spikes (T, ...) of a neuron layer for the currents ``x`` (T, ...), from zero potential."""
    return spikes_and_last(x, neuron)[0]


def spikes_and_last(x: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """As :func:`multi_step`, and the last potential (...), before its reset."""
    found: tuple[Tensor, Tensor] = _MultiStep.apply(x, neuron)  # type: ignore[no-untyped-call]
    return found


class SpikingNeuron(nn.Module):
    """A neuron layer over all steps: currents (T*B, ...) -> spikes (T*B, ...), time-major.

    With ``repeats`` the input carries no time axis: (B, ...) is the same current at every step (the layers before
    the first neuron under direct encoding, computed once an image).

    Attributes:
        carries: whether to go on from the potential ``start`` (B, ...), zero if None, and to leave in ``end`` what the
            reset leaves of the last one; see :mod:`idsnn_convert.runtime.chunks`.
    """

    start: Tensor | None = None
    end: Tensor | None = None
    carries = False

    def __init__(self, neuron: Neuron, time_steps: int = 1, repeats: bool = False) -> None:
        super().__init__()
        self.neuron, self.time_steps, self.repeats = neuron, time_steps, repeats
        for name, value in neuron.parameters().items():
            self.register_parameter(name, nn.Parameter(torch.tensor(value)))

    @property
    def decay(self) -> Tensor | float:
        """The decay in force, a scalar Tensor if it is learnt."""
        return self.get_parameter(DECAY).sigmoid() if self.neuron.learn_decay else self.neuron.decay

    @property
    def v_threshold(self) -> Tensor | float:
        """The threshold in force, a scalar Tensor if it is learnt."""
        return self.get_parameter(THRESHOLD).exp() if self.neuron.learn_threshold else self.neuron.v_threshold

    def forward(self, x: Tensor) -> Tensor:
        steps = self.time_steps
        if steps == 1 and not torch.is_grad_enabled():
            return self._one_step(x)
        currents = x.expand(steps, *x.shape) if self.repeats else x.unflatten(0, (steps, x.shape[0] // steps))
        if self.start is not None:
            currents = torch.cat([self._later(currents[:1], self.start), currents[1:]])
        spikes, last = self._spikes(currents)
        if self.carries:
            fired = spikes[-1].detach()
            hard = self.neuron.reset == "hard"
            self.end = last.masked_fill(fired > 0, 0) if hard else last - self.v_threshold * fired
        return spikes.flatten(0, 1)

    def _one_step(self, x: Tensor) -> Tensor:
        """As :meth:`forward`, of one step that nothing is learned from: in the memory layout of ``x``, without copies."""
        u = x if self.start is None else self._later(x, self.start)
        fired = u > self.v_threshold
        spikes = fired.to(x.dtype)
        if self.carries:
            self.end = u.masked_fill(fired, 0) if self.neuron.reset == "hard" else u - self.v_threshold * spikes
        return spikes

    def _later(self, current: Tensor, left: Tensor) -> Tensor:
        """The potential that ``current`` and what was left of the potential before make."""
        decay = self.decay
        return current + decay * left if isinstance(decay, Tensor) else torch.add(current, left, alpha=decay)

    def _spikes(self, currents: Tensor) -> tuple[Tensor, Tensor]:
        neuron = self.neuron
        if not neuron.parameters():
            return spikes_and_last(currents, neuron)
        wide = torch.promote_types(currents.dtype, torch.float32)
        numbers = (torch.as_tensor(number, device=currents.device).to(wide) for number in (self.decay, self.v_threshold))
        return learned_spikes_and_last(currents, *numbers, hard=neuron.reset == "hard", slope=neuron.slope)

    def extra_repr(self) -> str:
        return f"{self.neuron}, time_steps={self.time_steps}, repeats={self.repeats}"
