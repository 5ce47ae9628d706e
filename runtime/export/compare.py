"""What the formats' checks have in common: the runtime's own run, which an exported network is held against.

Letters: T time steps, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.network import SpikingNetwork

MOST_FLIPS = 0.01
"""Share of all spikes that may differ end to end; rounding alone flips far fewer."""
LEAST_AGREEMENT = 99.0
"""Percent of real images that must get the same answer."""
MOST_POINTS = 0.2
"""Percentage points that top-1 may differ by, at least two images of them."""


@dataclass(frozen=True)
class Ran:
    """One run: logits of each step (T, B, K), and every neuron's spikes (T*B, C, H, W)."""

    logits: Tensor
    spikes: Mapping[str, Tensor]


def plain(checkpoint: Checkpoint, steps: int | None = None) -> SpikingNetwork:
    """The network of ``checkpoint`` in evaluation mode, every layer on its own."""
    steps = checkpoint.time_steps if steps is None else steps
    given = (checkpoint.graph, checkpoint.tensors, steps, checkpoint.encoder)
    return SpikingNetwork(*given, readout=checkpoint.readout, fused=False).eval()


def folded(checkpoint: Checkpoint) -> Checkpoint:
    """``checkpoint`` with the batch norms folded into their convolutions, see :func:`idsnn_convert.runtime.fold.fold`."""
    graph, tensors = fold(checkpoint.graph, checkpoint.tensors)
    return replace(checkpoint, graph=graph, tensors=tensors)


def direct(checkpoint: Checkpoint) -> Checkpoint:
    """``checkpoint`` as it is on images that are encoded already."""
    return replace(checkpoint, encoder="direct")


def ran(checkpoint: Checkpoint, images: Tensor, steps: int | None = None) -> Ran:
    """The runtime on normalised images (B, C, H, W)."""
    network = plain(checkpoint, steps)
    spikes: dict[str, Tensor] = {}

    def kept(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: spikes.update({name: output})

    for node in checkpoint.graph.of("neuron"):
        network.body.get_submodule(node.name).register_forward_hook(kept(node.name))
    with torch.no_grad():
        return Ran(network(images), spikes)


def end_to_end(checkpoint: Checkpoint, found: Ran, want: Ran, same: bool = True) -> Stage:
    """Flipped spikes of every neuron, and the answers; passes where no more flipped than rounding explains.

    Args:
        found: of the exported network, on the images ``want`` was run on.
        same: what else must hold.
    """
    flips = {name: int((found.spikes[name] != spikes).sum()) for name, spikes in want.spikes.items()}
    total, sites = sum(flips.values()), sum(spikes.numel() for spikes in want.spikes.values())
    first = next((name for name, count in flips.items() if count), None)
    answers = [checkpoint.readout(each.logits) for each in (found, want)]
    moved, agreed = largest(answers[0] - answers[1]), int((answers[0].argmax(-1) == answers[1].argmax(-1)).sum())
    images = len(answers[1])
    measured = {"flipped": total, "sites": sites, "first": first, "logits_moved": moved}
    measured |= {"same_answer": agreed, "images": images}
    fired = f"{total:,} of {sites:,} spikes flipped{f', the first in {first}' if first else ''}; " if sites else ""
    told = f"{fired}logits moved by {moved:.1e} at most; same answer for {agreed} of {images} images"
    return Stage("End to end", told, total <= MOST_FLIPS * sites and same, measured)


def on_images(
    where: str, answer: Callable[[Tensor], Tensor], checkpoint: Checkpoint, steps: int, batches: Iterable[tuple[Tensor, Tensor]]
) -> Stage:
    """Both on real images: as many right, and the same answers.

    Args:
        where: who else answers, as in "top-1 in onnxruntime".
        answer: images (B, C, H, W), normalised -> what it says of them (B, K).
        batches: such images, and labels (B,).
    """
    network = plain(checkpoint, steps)
    count = ours = theirs = same = 0
    with torch.inference_mode():
        for images, labels in batches:
            want, got = checkpoint.readout(network(images)).argmax(1), answer(images).argmax(1)
            count += len(labels)
            ours += int((want == labels).sum())
            theirs += int((got == labels).sum())
            same += int((want == got).sum())
    top1, agreed = (100 * ours / count, 100 * theirs / count), 100 * same / count
    measured = {"images": count, "top1_percent": top1[0], "top1_percent_exported": top1[1], "same_answer_percent": agreed}
    told = f"top-1 {top1[1]:.2f} % in {where}, {top1[0]:.2f} % in the runtime, the same answer for {agreed:.2f} % of {count:,}"
    near = abs(ours - theirs) <= max(2, MOST_POINTS / 100 * count)
    return Stage("Real images", told, near and agreed >= LEAST_AGREEMENT, measured)


def largest(difference: Tensor) -> float:
    """The largest magnitude in it."""
    return float(difference.abs().max())
