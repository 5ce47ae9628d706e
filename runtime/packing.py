"""Spikes as one bit a value, for convolutions to keep their input as until the backward.

A convolution's weight gradient needs the input again. Spikes are 0 or 1, so 32 of them fit where one float32 lies; what
is kept for the backward of a spiking network about halves. They are unpacked when the gradient is taken: slower.

Contract: exact, to the bit, for inputs of 0 and 1; :func:`spiking` says which those are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from idsnn_convert.runtime.graph import Graph

BITS = 8


def spiking(graph: Graph) -> frozenset[str]:
    """Names of the convolutions whose input is a neuron's spikes as they are."""
    return frozenset(conv.name for conv in graph.of("conv2d") if graph[conv.inputs[0]].op == "neuron")


def packed(spikes: Tensor) -> Tensor:
    """(N, C, H, W) of 0 and 1 -> uint8 (ceil(N C H W / 8),), in the order of channels-last memory."""
    flat = spikes.detach().permute(0, 2, 3, 1).reshape(-1)
    whole = flat.numel() // BITS * BITS
    code = _folded(flat[:whole].to(torch.uint8).view(-1, BITS))
    if whole == flat.numel():
        return code
    rest = flat.new_zeros(1, BITS, dtype=torch.uint8)
    rest[0, : flat.numel() - whole] = flat[whole:].to(torch.uint8)
    return torch.cat([code, _folded(rest)])


def _folded(bits: Tensor) -> Tensor:
    """(M, 8) bytes of 0 and 1 -> (M,) bytes of eight bits, eight bytes at a time as one integer."""
    return (bits.view(torch.int64) * GATHER >> 56).view(-1).to(torch.uint8)


GATHER = 0x0102040810204080
"""Times this, byte i of a little-endian integer, 0 or 1, comes to bit 56 + i, and nothing else comes to the top byte."""


def unpacked(code: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """What :func:`packed` took, channels-last."""
    count, channels, height, width = shape
    bits = (code[:, None] >> torch.arange(BITS, dtype=torch.uint8, device=code.device)).bitwise_and_(1)
    flat = bits.view(-1)[: shape.numel()].to(dtype)
    return flat.view(count, height, width, channels).permute(0, 3, 1, 2)
