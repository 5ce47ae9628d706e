"""Convolutions of spikes in integers, for inference: weights of 8 or 16 bits, spikes as bytes.

Of a product with a spike, 0 or 1, only the weight has digits. With ``s[o] = max |w[o]| / limit`` an output channel's weights
are the whole numbers ``q = round(w / s)``; their sums are exact, whatever their order, and ``y = s sum q + bias``. Processors
multiply bytes four times as fast as float32. 16 bits are two digits, ``q = 255 high + low``: twice the input channels, and a
spike is the two bytes 255 and 1. A neuron writes them as one bfloat16, for which torch.compile has vector instructions.

Contract: the weights are rounded to ``s`` (limit 127 or 32,512), nothing else is but by float32. A current moves by at most
s / 2 a spike, so a potential at its threshold may fall to the other side.

Letters: B batch, C channels, H height, W width, O output channels, I input channels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fusion import Fusion
from idsnn_convert.runtime.graph import Graph, Node

PAIR = torch.bfloat16
"""Two bytes."""

CODES = {8: torch.uint8, 16: PAIR}
"""Bits of a weight -> the type in which a neuron writes its spikes; nothing is 0."""

ONE = {torch.uint8: 1.0, PAIR: (1 + 127 / 128) * 2.0**-124}
"""Such a type -> its number for a spike. The second is the bytes 255 and 1, in this order on every processor that has the
products."""

DIGIT, BASE = 127, 255
"""The largest digit, and what a high digit counts: more would not fit into a signed and an unsigned byte."""

LARGEST_SUM = 2**31 - 1


def check_available(device: torch.device | str, bits: int) -> None:
    """Whether this machine multiplies bytes.

    Raises:
        UserError: if it does not, or there are no weights of so many bits.
    """
    if bits not in CODES:
        raise UserError(f"there are no weights of {bits} bits", hint=f"Known: {', '.join(map(str, CODES))}; else float32.")
    place = "this processor" if torch.device(device).type == "cpu" else str(device)
    if place != "this processor" or not supported():
        problem = f"weights of {bits} bits need a processor that multiplies bytes (AVX-512 VNNI), which {place} does not"
        raise UserError(problem, hint="Leave the weights in float32.")


def supported() -> bool:
    """Whether the processor and this build of torch multiply bytes."""
    return torch.cpu._is_vnni_supported() and hasattr(torch.ops.onednn, "qconv2d_pointwise")


def convolutions(graph: Graph) -> frozenset[str]:
    """Names of the convolutions whose input is spikes and whose sums fit into 32 bits."""
    return frozenset(conv.name for conv in graph.of("conv2d") if _spikes(graph, graph[conv.inputs[0]]) and _fits(graph, conv))


def _spikes(graph: Graph, node: Node) -> bool:
    return node.op == "neuron" or (node.op == "max_pool2d" and _spikes(graph, graph[node.inputs[0]]))


def _fits(graph: Graph, conv: Node) -> bool:
    height, width = conv.attr("kernel")
    weights: int = conv.attr("in_channels") * height * width
    one_group: bool = conv.attr("groups") == 1
    return one_group and weights * (DIGIT * BASE + DIGIT) <= LARGEST_SUM and sees_its_input(graph, conv)


def sees_its_input(graph: Graph, conv: Node) -> bool:
    """Whether every window of a convolution holds a pixel, and reaches over no border by more than half of itself.

    Else oneDNN's products of bytes, as of torch 2.13, may read what is not theirs, give wrong sums or end the process.
    """
    sizes = graph[conv.inputs[0]].shape[1:]
    windows = zip(sizes, conv.shape[1:], *map(conv.attr, ("kernel", "stride", "padding", "dilation")), strict=True)
    return all(
        2 * padding <= dilation * (kernel - 1)
        and any(0 <= at * stride - padding + step * dilation < size for step in range(kernel))
        for size, count, kernel, stride, padding, dilation in windows
        for at in range(count)
    )


def writes_codes(graph: Graph, fused: Mapping[str, Fusion], taps: Collection[str] = ()) -> frozenset[str]:
    """Names of the fused neurons whose every reader takes bytes: one of :func:`convolutions`, or a neuron that adds it; of
    ``taps`` none, whose own values are asked for."""
    takes = convolutions(graph)
    adds = {  # not where the neuron feeds the sum twice: it would be taken for a current too
        (fusion.absorbed[-1], fusion.residual)
        for fusion in fused.values()
        if fusion.residual and fusion.residual != fusion.source
    }

    def taken(source: str) -> bool:
        readers = graph.users[source]
        return all(
            reader in takes or (reader, source) in adds or (graph[reader].op == "max_pool2d" and taken(reader))
            for reader in readers
        )

    return frozenset(name for name in fused if len(graph[name].shape) == 3 and name not in taps and taken(name))


def digits(weight: Tensor, bits: int) -> tuple[list[Tensor], Tensor]:
    """Weights (O, I, H, W) as int8 digits of the same shape, the highest first, and what one unit of the last is worth,
    float32 (O,).

    Raises:
        UserError: if a weight is NaN or infinite, which no whole number stands for.
    """
    if not weight.isfinite().all():
        raise UserError("a weight is NaN or infinite, which no whole number stands for", hint="Was the training ended well?")
    places = [BASE**place for place in reversed(range(bits // 8))]
    worth = weight.abs().amax((1, 2, 3)).double().clamp_min(torch.finfo(torch.float32).tiny) / (DIGIT * sum(places))
    rest = (weight.double() / worth.view(-1, 1, 1, 1)).round()
    found = []
    for place in places:
        digit = (rest / place).round()
        rest = rest - place * digit
        found.append(digit.to(torch.int8))
    return found, worth.float()


def encoded(spikes: Tensor, code: torch.dtype) -> Tensor:
    """Spikes (B, C, H, W) as bytes, channels-last: (B, C, H, W), or (B, 2 C, H, W) where ``code`` is :data:`PAIR`."""
    last = spikes.permute(0, 2, 3, 1)
    codes = last.new_empty(last.shape, dtype=code).copy_(last * ONE[code])
    return codes.view(torch.uint8).permute(0, 3, 1, 2)


def decoded(x: Tensor, channels: int) -> Tensor:
    """What :func:`encoded` or a neuron made bytes of, as float32 spikes of so many channels; anything else as it is."""
    if x.dtype != torch.uint8:
        return x
    last = x.permute(0, 2, 3, 1)
    return (last if x.shape[1] == channels else last.view(PAIR)).gt(0).float().permute(0, 3, 1, 2)


class IntegerConv2d(nn.Module):
    """``conv`` on spikes (B, C, H, W), as bytes or as they are, -> float32 (B, O, H, W), channels-last.

    Borrows the layer, which stays where the network has it; its weights are read once, at the first call.
    """

    def __init__(self, conv: nn.Conv2d, bits: int) -> None:
        super().__init__()
        self._borrowed = (conv,)
        self.bits, self.code = bits, CODES[bits]
        self._packed: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise ValueError("weights in integers do not learn: call the network under torch.no_grad()")
        (conv,) = self._borrowed
        x = x if x.dtype == torch.uint8 else encoded(x, self.code)
        x = x.contiguous(memory_format=torch.channels_last)
        places: tuple[Any, ...] = (list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups)
        if self._packed is None:
            found, worth = digits(conv.weight, self.bits)
            weight = torch.stack(found, 2).flatten(1, 2)  # a channel's digits side by side, as its bytes are
            weight = torch.ops.onednn.qconv_prepack(weight, worth, 1.0, 0, *places, list(x.shape))
            self._packed = weight, worth, torch.zeros(len(worth), dtype=torch.int32)
        given = (x, 1.0, 0, *self._packed, conv.bias, *places, 1.0, 0, torch.float32)
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(*given, "none", [], "")
        return y
