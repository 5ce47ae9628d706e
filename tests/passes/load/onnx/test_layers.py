from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idsnn_convert.runtime.errors import UserError

pytest.importorskip("onnxruntime")
from tests.passes.load.onnx.made import agree, floats, model, node, read, whole

IMAGES = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))
W, V, B = floats(4, 2, 3, 3), floats(4, 2, 2, 2), floats(4, seed=1)
NORM = {"g": floats(2), "b": floats(2), "m": floats(2), "v": np.abs(floats(2))}
LINEAR = {"w": floats(50, 3), "t": floats(3, 50), "b": floats(3), "one": floats(1)}
FLAT = node("Flatten", "x", "f")

# What it is -> nodes, constants, opset, operations of the canonical graph.
COVERED: dict[str, tuple[list[Any], dict[str, Any], int, list[str]]] = {
    "conv": ([node("Conv", "x w")], {"w": W}, 17, ["conv2d"]),
    "conv with bias, of opset 9": ([node("Conv", "x w b", kernel_shape=[3, 3])], {"w": W, "b": B}, 9, ["conv2d"]),
    "conv of opset 22": ([node("Conv", "x w", strides=[2, 1], dilations=[1, 2])], {"w": W}, 22, ["conv2d"]),
    "grouped conv": ([node("Conv", "x w", group=2, pads=[1, 1, 1, 1])], {"w": floats(4, 1, 3, 3)}, 17, ["conv2d"]),
    "uneven pads": ([node("Conv", "x w", pads=[0, 1, 2, 0])], {"w": W}, 17, ["pad", "conv2d"]),
    "SAME_UPPER": ([node("Conv", "x v", auto_pad="SAME_UPPER", strides=[2, 2])], {"v": V}, 17, ["pad", "conv2d"]),
    "SAME_LOWER": ([node("Conv", "x v", auto_pad="SAME_LOWER")], {"v": V}, 17, ["pad", "conv2d"]),
    "VALID": ([node("Conv", "x w", auto_pad="VALID")], {"w": W}, 17, ["conv2d"]),
    "conv and its bias": ([node("Conv", "x w", "c"), node("Add", "b c")], {"w": W, "b": B.reshape(4, 1, 1)}, 17, ["conv2d"]),
    "batch norm": ([node("BatchNormalization", "x g b m v", epsilon=1e-3)], NORM, 15, ["batch_norm"]),
    "batch norm of opset 7": ([node("BatchNormalization", "x g b m v", spatial=1)], NORM, 7, ["batch_norm"]),
    "batch norm of opset 9": ([node("BatchNormalization", "x g b m v")], NORM, 9, ["batch_norm"]),
    "batch norm of opset 14": ([node("BatchNormalization", "x g b m v", training_mode=0)], NORM, 14, ["batch_norm"]),
    "group norm": ([node("GroupNormalization", "x g b", num_groups=2, epsilon=1e-3)], NORM, 21, ["group_norm"]),
    "relu": ([node("Relu", "x")], {}, 6, ["activation"]),
    "relu6 of opset 6": ([node("Clip", "x", min=0.0, max=6.0)], {}, 10, ["activation"]),
    "relu6 of opset 13": ([node("Clip", "x l h")], {"l": np.float32(0), "h": np.float32(6)}, 13, ["activation"]),
    "relu by clip": ([node("Clip", "x l")], {"l": np.float32(0)}, 13, ["activation"]),
    "relu by clip of opset 6": ([node("Clip", "x", min=0.0)], {}, 6, ["activation"]),
    "leaky relu": ([node("LeakyRelu", "x", alpha=0.2)], {}, 16, ["activation"]),
    "leaky relu by default": ([node("LeakyRelu", "x")], {}, 16, ["activation"]),
    "elu": ([node("Elu", "x")], {}, 17, ["activation"]),
    "gelu": ([node("Gelu", "x")], {}, 20, ["activation"]),
    "hard swish": ([node("HardSwish", "x")], {}, 14, ["activation"]),
    "hard swish in parts": ([node("HardSigmoid", "x", "s", alpha=1 / 6), node("Mul", "x s")], {}, 13, ["activation"]),
    "silu in parts": ([node("Sigmoid", "x", "s"), node("Mul", "s x")], {}, 13, ["activation"]),
    "gate": (
        [node("GlobalAveragePool", "x", "p"), node("Sigmoid", "p", "s"), node("Mul", "x s")],
        {},
        17,
        ["global_avg_pool", "gate", "mul"],
    ),
    "softmax": ([node("Softmax", "x", "s", axis=1), node("Identity", "s")], {}, 13, ["gate"]),
    "softmax of opset 11": ([FLAT, node("Softmax", "f", "s"), node("Identity", "s")], {}, 11, ["flatten", "gate"]),
    "max pool": ([node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}, 17, ["max_pool2d"]),
    "max pool of opset 8": ([node("MaxPool", "x", kernel_shape=[2, 2])], {}, 8, ["max_pool2d"]),
    "max pool, rounded up": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], {}, 17, ["max_pool2d"]),
    "max pool with dilation": ([node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])], {}, 17, ["max_pool2d"]),
    "max pool, uneven": ([node("MaxPool", "x", kernel_shape=[2, 2], pads=[0, 0, 1, 1])], {}, 17, ["pad", "max_pool2d"]),
    "average pool": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}, 19, ["avg_pool2d"]),
    "average pool, pads counted": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)], {}, 11, ["avg_pool2d"],
    ),
    "average pool, uneven": (
        [node("AveragePool", "x", kernel_shape=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1)], {}, 11, ["pad", "avg_pool2d"],
    ),
    "average over all": ([node("AveragePool", "x", kernel_shape=[5, 5])], {}, 17, ["global_avg_pool"]),
    "global max": ([node("GlobalMaxPool", "x")], {}, 17, ["max_pool2d"]),
    "mean": ([node("ReduceMean", "x", axes=[2, 3], keepdims=0)], {}, 17, ["global_avg_pool", "flatten"]),
    "mean of opset 18": ([node("ReduceMean", "x a")], {"a": whole(-1, -2)}, 18, ["global_avg_pool"]),
    "gemm": ([FLAT, node("Gemm", "f w b")], LINEAR, 17, ["flatten", "linear"]),
    "gemm, turned and scaled": (
        [FLAT, node("Gemm", "f t b", transB=1, alpha=0.5, beta=2.0)], LINEAR, 13, ["flatten", "linear"],
    ),
    "gemm with one number for bias": ([FLAT, node("Gemm", "f w one")], LINEAR, 9, ["flatten", "linear"]),
    "gemm without bias": ([FLAT, node("Gemm", "f w")], LINEAR, 11, ["flatten", "linear"]),
    "gemm whose bias counts nothing": ([FLAT, node("Gemm", "f w b", beta=0.0)], LINEAR, 11, ["flatten", "linear"]),
    "matmul": ([FLAT, node("MatMul", "f w")], LINEAR, 17, ["flatten", "linear"]),
    "matmul and its bias": ([FLAT, node("MatMul", "f w", "p"), node("Add", "p b")], LINEAR, 17, ["flatten", "linear"]),
    "dropout": ([node("Dropout", "x", ratio=0.3)], {}, 10, ["dropout"]),
    "dropout of opset 12": ([node("Dropout", "x r")], {"r": np.float32(0.3)}, 13, ["dropout"]),
}  # fmt: skip


@pytest.mark.parametrize("case", COVERED)
def test_a_layer_computes_what_onnxruntime_does(case: str, tmp_path: Path) -> None:
    nodes, constants, opset, ops = COVERED[case]
    found = agree(model(nodes, constants=constants, opset=opset), tmp_path, IMAGES)
    assert [made.op for made in found.graph] == ["input", *ops, "output"]
    assert set(found.origin.values()) <= constants.keys()


def test_settings_are_as_their_author_wrote_them(tmp_path: Path) -> None:
    nodes = [node("BatchNormalization", "x g b m v", "n", epsilon=1e-5, momentum=0.9), node("LeakyRelu", "n", alpha=0.1)]
    found = read(model(nodes, constants=NORM), tmp_path).graph
    assert [dict(made.attrs) for made in found.of("batch_norm", "activation")] == [
        {"channels": 2, "eps": 1e-5, "momentum": 0.1, "affine": True},
        {"kind": "leaky_relu", "slope": 0.1},
    ]


def test_a_convolution_over_channels_is_one_of_height_one(tmp_path: Path) -> None:
    nodes = [
        node("GlobalAveragePool", "x", "p"), node("Squeeze", "p three", "q"), node("Transpose", "q", "t", perm=[0, 2, 1]),
        node("Conv", "t w", pads=[1, 1]),
    ]  # fmt: skip
    found = agree(model(nodes, constants={"w": floats(1, 1, 3), "three": whole(3)}), tmp_path, IMAGES)
    assert [made.attr("kernel") for made in found.graph.of("conv2d")] == [(1, 3)]


def test_what_is_added_is_a_bias_only_where_it_is_one(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Add", "c p")]
    with pytest.raises(UserError, match="add with the constant 'p' is not covered"):
        read(model(nodes, constants={"w": W, "p": floats(4, 3, 3)}), tmp_path)


REFUSED: dict[str, tuple[list[Any], dict[str, Any], int, str]] = {
    "training batch norm": (
        [node("BatchNormalization", "x g b m v", training_mode=1)], NORM, 15, "this batch norm is in training mode",
    ),
    "old training batch norm": (
        [node("BatchNormalization", "x g b m v", "n s t"), node("Sum", "n s")], NORM, 9, "this batch norm is in training mode",
    ),
    "norm of pixels": ([node("BatchNormalization", "x g b m v", spatial=0)], NORM, 7, "statistics for every pixel"),
    "wrong kernel": ([node("Conv", "x w", kernel_shape=[2, 2])], {"w": W}, 17, r"kernel_shape \[2, 2\] is not its weight's"),
    "weight from images": ([node("Conv", "x x")], {}, 17, "its weight is computed from the input"),
    "weight of whole numbers": ([node("Conv", "x w")], {"w": W.astype("int64")}, 17, "holds int64 numbers, not weights"),
    "volumes": ([node("Conv", "x w")], {"w": floats(2, 2, 1, 1, 1)}, 17, "a convolution over 3 axes"),
    "clip": ([node("Clip", "x", min=-2.0, max=2.0)], {}, 6, r"a clamp to \[-2.0, 2.0\] is no known activation"),
    "clip by images": ([node("Clip", "x x")], {}, 13, "its min is not one number known beforehand"),
    "hard sigmoid": ([node("HardSigmoid", "x")], {}, 13, "a hard sigmoid of slope 0.2 and offset 0.5"),
    "elu": ([node("Elu", "x", alpha=2.0)], {}, 13, "an ELU with alpha 2"),
    "gelu": ([node("Gelu", "x", approximate="tanh")], {}, 20, "GELU's 'tanh' approximation"),
    "swish": ([node("Swish", "x", alpha=2.0)], {}, 24, "a swish with alpha 2"),
    "old softmax": ([node("Softmax", "x", "s"), node("Identity", "s")], {}, 11, "a softmax over axis 1 and all behind it"),
    "indices": ([node("MaxPool", "x", "p i", kernel_shape=[2, 2]), node("Sum", "p i")], {}, 17, "that returns indices"),
    "pool over one axis": ([node("MaxPool", "x", kernel_shape=[2])], {}, 17, "a pool over 1 axes"),
    "average with dilation": ([node("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 2])], {}, 19, "with dilation"),
    "uneven average": ([node("AveragePool", "x", kernel_shape=[2, 2], pads=[0, 0, 1, 1])], {}, 19, "leaves out uneven padding"),
    "mean over channels": ([node("ReduceMean", "x", axes=[1])], {}, 17, r"a mean over axes \[1\] is no global pooling"),
    "turned gemm": ([FLAT, node("Gemm", "f w", transA=1)], LINEAR, 17, "is no linear layer on features"),
    "gemm, bias an image": ([FLAT, node("Gemm", "f w b")], {**LINEAR, "b": floats(3, 3)}, 17, "differs from image to image"),
    "matmul of maps": ([node("MatMul", "x w")], {"w": floats(1, 5, 5)}, 17, "this matrix product is no linear layer"),
    "training dropout": ([node("Dropout", "x r t")], {"r": np.float32(0.3), "t": np.array(True)}, 13, "dropout is in training"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_layer_without_a_canonical_form_is_refused(case: str, tmp_path: Path) -> None:
    nodes, constants, opset, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        read(model(nodes, constants=constants, opset=opset), tmp_path)
