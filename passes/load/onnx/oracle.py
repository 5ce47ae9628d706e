"""An ONNX model run by onnxruntime: what its canonical graph must compute."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from idsnn_convert.passes.equal import OUTPUT, Reference
from idsnn_convert.runtime.graph import Shape


def runtime_reference(path: Path, graph: onnx.GraphProto, shape: Shape) -> Reference | None:
    """The model in ``path`` for images of ``shape`` (C, H, W); its logits alone can be told.

    None without onnxruntime, for a model that computes in another type than float32, or one that ends in a softmax: its
    canonical graph ends before that.
    """
    stored = {tensor.data_type for tensor in graph.initializer} & {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    last = {key: node.op_type for node in graph.node for key in node.output}.get(graph.output[0].name, "")
    if find_spec("onnxruntime") is None or stored or last in ("Softmax", "LogSoftmax"):
        return None

    def run(images: Tensor) -> dict[str, Tensor]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        taken = next(value for value in session.get_inputs() if value.name not in {tensor.name for tensor in graph.initializer})
        logits = torch.from_numpy(session.run([graph.output[0].name], {taken.name: _arranged(images, taken.shape)})[0])
        return {OUTPUT: logits[: len(images)].reshape(len(images), -1)}

    return Reference("onnxruntime", shape, run)


def _arranged(images: Tensor, declared: list[Any]) -> Any:
    """One image as the model takes it: as often as its batch is fixed to, channels last where it has them there."""
    batch, *rest = declared
    _, channels, height, width = images.shape
    fixed = [size if isinstance(size, int) else known for size, known in zip(rest, (channels, height, width), strict=True)]
    if tuple(fixed) != (channels, height, width) or (isinstance(rest[-1], int) and not isinstance(rest[0], int)):
        images = images.permute(0, 2, 3, 1)
    return np.repeat(images.contiguous().numpy(), batch if isinstance(batch, int) else 1, axis=0)
