"""Images with some structure, and networks that remember them."""

from __future__ import annotations

import torch
from torch import Tensor

from idsnn_convert.runtime.data import Split
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.network import build
from tests import graphs


def photographs(count: int = 300, channels: int = 3) -> Split:
    """Smooth coloured patches: neighbouring pixels are alike, channels differ in mean and spread."""
    draw = torch.Generator().manual_seed(2)
    coarse = torch.rand(count, channels, 3, 3, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    low, span = torch.tensor([30.0, 60.0, 90.0])[:channels], torch.tensor([160.0, 120.0, 150.0])[:channels]
    images = low.view(-1, 1, 1) + span.view(-1, 1, 1) * smooth
    return Split(images.to(torch.uint8), torch.zeros(count, dtype=torch.int64))


def trained(graph: Graph, images: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors whose running statistics are those of ``images``, as training leaves them."""
    network = build(graph, graphs.random_tensors(graph, seed))
    for node in graph.of("batch_norm"):
        network.get_submodule(node.name).momentum = 1.0  # type: ignore[assignment]
    network.train()
    with torch.no_grad():
        network(images)
    return network.state_dict()
