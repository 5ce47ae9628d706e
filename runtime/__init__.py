"""Checkpoint -> spiking network: load, train, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from idsnn_convert.runtime.checkpoint import Checkpoint, read, save
from idsnn_convert.runtime.inference import Inference
from idsnn_convert.runtime.network import SpikingNetwork

__all__ = ["Checkpoint", "Inference", "SpikingNetwork", "load", "network", "read", "save"]


def load(
    path: str | Path, *, time_steps: int | None = None, device: torch.device | str = "cpu", compiled: bool = False
) -> SpikingNetwork:
    """The spiking network in the checkpoint ``path``, rebuilt from that file alone.

    Args:
        time_steps: T to run with; the checkpoint's own by default.
        compiled: run on compiled kernels, see :class:`SpikingNetwork`.

    Raises:
        UserError: see :func:`idsnn_convert.runtime.checkpoint.read`.
    """
    return network(read(path), time_steps=time_steps, device=device, compiled=compiled)


def network(
    checkpoint: Checkpoint,
    *,
    time_steps: int | None = None,
    device: torch.device | str = "cpu",
    compiled: bool = False,
    taps: Sequence[str] = (),
    pack_spikes: bool = False,
    gamma: float | None = None,
    weight_bits: int | None = None,
) -> SpikingNetwork:
    """The spiking network that a checkpoint describes; ``taps`` are nodes whose maps it can give too (spike activation maps
    with ``gamma``), ``pack_spikes`` trains it in less memory, ``weight_bits`` (8 or 16) answers faster and does not train."""
    steps = checkpoint.time_steps if time_steps is None else time_steps
    given = (checkpoint.graph, checkpoint.tensors, steps, checkpoint.encoder, device, compiled)
    more = {"taps": taps, "pack_spikes": pack_spikes, "gamma": gamma, "weight_bits": weight_bits}
    return SpikingNetwork(*given, readout=checkpoint.readout, **more)  # type: ignore[arg-type]
