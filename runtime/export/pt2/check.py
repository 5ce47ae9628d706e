"""Whether a .pt2 file computes what the runtime computes: it is loaded as any program of torch would, and both are run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.export.types import Stage

TOLERANCE = 1e-5
"""Of the logits, relative to their largest; with the same weights the two even agree to the bit."""


def stages(
    content: bytes, checkpoint: Checkpoint, folded: bool, images: Tensor, real: Sequence[tuple[Tensor, Tensor]] = ()
) -> Iterator[Stage]:
    """The comparisons, one by one; after one that failed there are no more.

    Args:
        content: the file, written of ``checkpoint`` with its number of time steps, its norms ``folded`` or not.
        images: (B, C, H, W), normalised.
        real: batches of such images and labels (B,).
    """
    program = torch.export.load(io.BytesIO(content))
    calls = sum(node.op == "call_function" for node in program.graph.nodes)
    yield Stage("Loaded again", f"{calls:,} calls of ATen, any batch size", True, {"calls": calls})
    module = program.module()
    stage = _beside(module, compare.folded(checkpoint) if folded else checkpoint, images)
    yield stage
    if folded and stage.passed and checkpoint.graph.of("neuron"):
        stage = _folding(checkpoint, images)
        yield stage
    if stage.passed and real:
        yield compare.on_images("the program", lambda given: _answer(module, given), checkpoint, checkpoint.time_steps, real)


def _beside(module: torch.nn.Module, checkpoint: Checkpoint, images: Tensor) -> Stage:
    """The same weights in both, on all images and on the first alone."""
    worst = 0.0
    for given in (images, images[:1]):
        with torch.no_grad():
            want, found = compare.plain(checkpoint)(given), _logits(module, given)
        worst = max(worst, compare.largest(found - want) / max(1.0, compare.largest(want)))
    told = f"logits of every step differ by {worst:.1e} at most, in batches of {len(images)} and 1"
    return Stage("Beside the runtime", told, worst <= TOLERANCE, {"logits_moved": worst, "images": len(images)})


def _folding(checkpoint: Checkpoint, images: Tensor) -> Stage:
    """What rounding in the folded weights does to the spikes; the program was shown to do the same."""
    return compare.end_to_end(checkpoint, compare.ran(compare.folded(checkpoint), images), compare.ran(checkpoint, images))


def _logits(module: torch.nn.Module, images: Tensor) -> Tensor:
    """(T, B, K)."""
    found = module(images)
    logits: Tensor = found[1] if isinstance(found, tuple) else found[None]
    return logits


def _answer(module: torch.nn.Module, images: Tensor) -> Tensor:
    found = module(images)
    answer: Tensor = found[0] if isinstance(found, tuple) else found
    return answer
