"""Whether a NIR file says what the network does: it is read back as any reader would, and both are run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import nir
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.export.nir.read import from_nir
from idsnn_convert.runtime.export.types import Stage

TOLERANCE = 1e-5
"""Of the logits, relative to their largest; only tau's and r's rounding to float32 lies between the two."""


def stages(
    written: nir.NIRGraph, checkpoint: Checkpoint, images: Tensor, real: Sequence[tuple[Tensor, Tensor]] = ()
) -> Iterator[Stage]:
    """The graph read back, beside ``checkpoint``; after a comparison that failed there are no more.

    Args:
        images: (B, C, H, W), normalised.
        real: batches of such images and labels (B,).
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "written.nir"
        nir.write(place, written)
        size = place.stat().st_size
        graph, tensors, _ = from_nir(place)
    kinds = [type(node).__name__ for node in written.nodes.values()]
    told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    yield Stage("Read back", f"{told}; {size:,} bytes", True, {"nodes": len(kinds)})
    stage = _beside(back := replace(checkpoint, graph=graph, tensors=tensors), compare.folded(checkpoint), images)
    yield stage
    if not stage.passed:
        return
    yield compare.end_to_end(checkpoint, compare.ran(back, images), compare.ran(checkpoint, images))
    if real:
        network = compare.plain(back)
        yield compare.on_images("the file", lambda given: back.readout(network(given)), checkpoint, checkpoint.time_steps, real)


def _beside(back: Checkpoint, folded: Checkpoint, images: Tensor) -> Stage:
    """With norms folded, as they are in the file."""
    want, found = (compare.ran(each, images).logits for each in (folded, back))
    moved = compare.largest(found - want) / max(1.0, compare.largest(want))
    same, steps = int((found.mean(0).argmax(1) == want.mean(0).argmax(1)).sum()), folded.time_steps
    text = f"logits differ by {moved:.1e} at most over {steps} steps; same answer for {same} of {len(images)} images"
    return Stage("Run beside the original", text, moved <= TOLERANCE, {"logits_moved": moved, "same_answer": same})
