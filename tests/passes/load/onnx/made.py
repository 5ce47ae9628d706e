"""ONNX models for the tests: exported by PyTorch, and written node by node."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from idsnn_convert.passes.load.onnx.file import read_onnx
from idsnn_convert.passes.load.onnx.importer import imported
from idsnn_convert.passes.types import Canonical, Teacher
from idsnn_convert.runtime.graph import Shape
from idsnn_convert.runtime.network import build

Arrays = Mapping[str, np.ndarray[Any, Any]]


def export(module: nn.Module, shape: Shape, opset: int = 17, *, folded: bool = False, batch: int | None = None) -> bytes:
    """``module`` as PyTorch exports it, with its batch norms folded into the convolutions or not."""
    training = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    axes = {"images": {0: "batch"}} if batch is None else {}
    found = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(batch or 1, *shape),),
            found,  # type: ignore[arg-type]  # the exporter that is not dynamo takes a file
            input_names=["images"],
            opset_version=opset,
            dynamic_axes=axes,
            training=training,
            do_constant_folding=folded,
            dynamo=False,
        )
    return found.getvalue()


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    """``inputs`` and ``output``: names with spaces between; ``_`` stands for one left out."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, output.split(), **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str | None] = ("N", 2, 5, 5),
    constants: Arrays | None = None,
    opset: int = 17,
    output: str = "y",
    **more: Any,
) -> onnx.ModelProto:
    """A model that takes ``x`` and gives ``output``."""
    images = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(shape))
    result = helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", [images], [result], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10, **more)


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(*numbers: int) -> np.ndarray[Any, Any]:
    return np.array(numbers, np.int64)


def read(content: onnx.ModelProto | bytes, folder: Path, input_size: int | None = None) -> Canonical:
    """Its canonical graph, by way of a file."""
    path = folder / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return imported(read_onnx(path), input_size).canonical


def ran(content: onnx.ModelProto | bytes, images: Tensor) -> Tensor:
    """What onnxruntime computes."""
    data = content if isinstance(content, bytes) else content.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


def computed(found: Canonical | Teacher, images: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = build(found.graph, found.tensors).eval()(images)
    return result


def agree(content: onnx.ModelProto | bytes, folder: Path, images: Tensor) -> Canonical:
    """Holds the canonical graph against onnxruntime; gives it."""
    found = read(content, folder)
    torch.testing.assert_close(computed(found, images), ran(content, images), rtol=1e-5, atol=1e-5)
    return found
