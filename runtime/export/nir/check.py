"""Whether a NIR file says what the network does: it is read back as any reader would, and both are run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import nir
import torch
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.nir.read import from_nir
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.network import SpikingNetwork

TOLERANCE = 1e-5
"""Of the logits, relative to their largest; only tau's and r's rounding to float32 lies between the two."""


def stages(written: nir.NIRGraph, checkpoint: Checkpoint, images: Tensor) -> Iterator[Stage]:
    """The graph read back, beside ``checkpoint`` with its norms folded, on normalised images (B, C, H, W)."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "written.nir"
        nir.write(place, written)
        size = place.stat().st_size
        graph, tensors, _ = from_nir(place)
    kinds = [type(node).__name__ for node in written.nodes.values()]
    told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    yield Stage("Read back", f"{told}; {size:,} bytes", True, {"nodes": len(kinds)})
    folded = fold(checkpoint.graph, checkpoint.tensors)
    with torch.no_grad():
        want, found = (SpikingNetwork(*each, checkpoint.time_steps).eval()(images) for each in (folded, (graph, tensors)))
    moved = ((found - want).abs().max() / want.abs().max().clamp_min(1)).item()
    same = int((found.mean(0).argmax(1) == want.mean(0).argmax(1)).sum())
    steps = checkpoint.time_steps
    text = f"logits differ by {moved:.1e} at most over {steps} steps; same answer for {same} of {len(images)} images"
    yield Stage("Run beside the original", text, moved <= TOLERANCE, {"logits_moved": moved, "same_answer": same})
