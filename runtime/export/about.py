"""What an exported file says of itself, for the formats that have a place for it."""

from __future__ import annotations

from typing import Any

from idsnn_convert.runtime.checkpoint import Checkpoint

KEY = "idsnn"
"""Where it lies: a property of an ONNX model, a key of a NIR graph's metadata, ``idsnn.json`` in a .pt2."""


def about(checkpoint: Checkpoint, **more: Any) -> dict[str, Any]:
    """JSON-native values: how the answer comes about, how images must be normalised, and what it was converted from."""
    return {
        "time_steps": checkpoint.time_steps,
        "encoder": checkpoint.encoder,
        "readout": checkpoint.readout.to_json(),
        "normalisation": checkpoint.normalisation,
        "neurons": checkpoint.neurons,
        "teacher": {key: checkpoint.teacher.get(key) for key in ("arch", "sha256")},
        **more,
    }
