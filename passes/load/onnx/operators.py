"""The table of ONNX operators that are covered, and in which versions.

A version is the opset that introduced the operator in that form: ``Clip`` of opset 17 is ``Clip`` of version 13.
To cover one more operator, or a version that changes nothing here, add it to its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from idsnn_convert.passes.load.onnx import folds, layers, maps
from idsnn_convert.passes.load.onnx.values import Call

Make = Callable[[Call], Any]


@dataclass(frozen=True)
class Row:
    """An operator.

    Attributes:
        versions: those that ``make`` and ``fold`` know.
        make: its value where an argument is a map; None if it is only covered on constants.
        fold: its value where every argument is a constant; None if it is not covered then.
    """

    versions: tuple[int, ...]
    make: Make | None
    fold: Make | None = None


_TYPES = (21, 23, 24, 25)  # versions of the operators that move data: each only adds types of numbers

ROWS: dict[str, Row] = {
    "Add": Row((7, 13, 14), maps.add, folds.add),
    "AveragePool": Row((1, 7, 10, 11, 19, 22), layers.average_pool),
    "BatchNormalization": Row((7, 9, 14, 15), layers.batch_norm),
    "Cast": Row((6, 9, 13, 19, *_TYPES), maps.cast, folds.cast),
    "Clip": Row((6, 11, 12, 13), layers.clip),
    "Concat": Row((4, 11, 13), maps.concat, folds.concat),
    "ConstantOfShape": Row((9, 20, *_TYPES), None, folds.constant_of_shape),
    "Conv": Row((1, 11, 22), layers.conv),
    "Div": Row((7, 13, 14), None, folds.div),
    "Dropout": Row((7, 10, 12, 13, 22), layers.dropout),
    "Elu": Row((6, 22), layers.elu),
    "Expand": Row((8, 13), maps.expand),
    "Flatten": Row((1, 9, 11, 13, *_TYPES), maps.flatten),
    "Gather": Row((1, 11, 13), None, folds.gather),
    "Gelu": Row((20,), layers.gelu),
    "Gemm": Row((7, 9, 11, 13), layers.gemm),
    "GlobalAveragePool": Row((1, 22), layers.global_average_pool),
    "GlobalMaxPool": Row((1, 22), layers.global_max_pool),
    "GroupNormalization": Row((21,), layers.group_norm),
    "HardSigmoid": Row((6, 22), layers.hard_sigmoid),
    "HardSwish": Row((14, 22), layers.activation("hardswish")),
    "Identity": Row((1, 13, 14, 16, 19, *_TYPES), maps.same, folds.identity),
    "LeakyRelu": Row((6, 16), layers.leaky_relu),
    "MatMul": Row((1, 9, 13), layers.matmul),
    "MaxPool": Row((1, 8, 10, 11, 12, 22), layers.max_pool),
    "Mul": Row((7, 13, 14), maps.mul, folds.mul),
    "Pad": Row((2, 11, 13, 18, 19, *_TYPES), maps.pad),
    "ReduceMean": Row((1, 11, 13, 18), layers.reduce_mean),
    "ReduceSum": Row((1, 11, 13), maps.reduce_sum),
    "Relu": Row((6, 13, 14), layers.activation("relu")),
    "Reshape": Row((5, 13, 14, 19, *_TYPES), maps.reshape, folds.reshape),
    "Shape": Row((1, 13, 15, 19, *_TYPES), maps.shape, folds.shape),
    "Sigmoid": Row((6, 13), layers.sigmoid),
    "Slice": Row((1, 10, 11, 13), maps.slice_, folds.slice_),
    "Softmax": Row((1, 11, 13), layers.softmax),
    "Split": Row((2, 11, 13, 18), maps.split),
    "Squeeze": Row((1, 11, 13, *_TYPES), maps.squeeze, folds.squeeze),
    "Sub": Row((7, 13, 14), maps.sub, folds.sub),
    "Sum": Row((6, 8, 13), maps.sum_),
    "Swish": Row((24,), layers.swish),
    "Transpose": Row((1, 13, *_TYPES), maps.transpose, folds.transpose),
    "Unsqueeze": Row((1, 11, 13, *_TYPES), maps.unsqueeze, folds.unsqueeze),
}
"""Name -> what is covered of it; all are of ONNX's own domain."""

OPERATORS: dict[tuple[str, str, int], Row] = {
    ("", name, version): row for name, row in ROWS.items() for version in row.versions
}
"""(domain, name, version) -> its row. ONNX's own domain is empty."""
