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
POOL = node("GlobalAveragePool", "x", "p")
FORTH = node("Transpose", "x", "t", perm=[0, 2, 3, 1])
RELU = node("Relu", "x", "r")

COVERED: dict[str, tuple[list[Any], dict[str, Any], int, list[str]]] = {
    "add": ([RELU, node("Add", "x r")], {}, 7, ["activation", "add"]),
    "add of nothing": ([RELU, node("Add", "r z")], {"z": np.float32(0)}, 17, ["activation"]),
    "sum": ([RELU, node("Sum", "x r x")], {}, 17, ["activation", "add", "add"]),
    "complement": ([node("Sigmoid", "x", "s"), node("Sub", "one s")], {"one": np.float32(1)}, 17, ["gate", "complement"]),
    "subtracting nothing": ([RELU, node("Sub", "r z")], {"z": np.float32(0)}, 17, ["activation"]),
    "concat": ([RELU, node("Concat", "x r", axis=-3)], {}, 17, ["activation", "concat"]),
    "zero channels": (
        [node("Shape", "x", "s"), node("ConstantOfShape", "s", "z"), node("Concat", "z x z", axis=1)], {}, 17, ["pad"],
    ),
    "pad of opset 10": ([node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 0])], {}, 10, ["pad"]),
    "pad of opset 11": ([node("Pad", "x p v")], {"p": whole(0, 1, 0, 0, 0, 2, 0, 0), "v": np.float32(0.5)}, 11, ["pad"]),
    "pad of opset 18": ([node("Pad", "x p _ a", mode="reflect")], {"p": whole(1, 2, 2, 1), "a": whole(-1, 2)}, 18, ["pad"]),
    "pad by the edge": ([node("Pad", "x p", mode="edge")], {"p": whole(0, 0, 1, 1, 0, 0, 1, 1)}, 13, ["pad"]),
    "slice of opset 1": ([node("Slice", "x", starts=[1, 1], ends=[4, 9], axes=[3, 2])], {}, 9, ["slice", "slice"]),
    "slice of opset 13": (
        [node("Slice", "x s e a d")],
        {"s": whole(0, 0), "e": whole(2**63 - 1, -1), "a": whole(2, 3), "d": whole(2, 3)}, 13, ["slice", "slice"],
    ),
    "split": ([node("Split", "x", "a b", axis=1), node("Add", "a b")], {}, 11, ["slice", "slice", "add"]),
    "split in sizes": (
        [node("Split", "x s", "a b", axis=2), node("Relu", "b")], {"s": whole(2, 3)}, 13, ["slice", "activation"],
    ),
    "split of opset 18": (
        [node("Split", "x", "a b c", axis=3, num_outputs=3), node("Relu", "c")], {}, 18, ["slice", "activation"],
    ),
    "flatten": ([node("Flatten", "x", axis=-3)], {}, 11, ["flatten"]),
    "squeeze": ([POOL, node("Squeeze", "p", axes=[2, 3])], {}, 11, ["global_avg_pool", "flatten"]),
    "squeeze of opset 13": ([POOL, node("Squeeze", "p a")], {"a": whole(-1, -2)}, 13, ["global_avg_pool", "flatten"]),
    "unsqueeze": (
        [POOL, node("Flatten", "p", "f"), node("Unsqueeze", "f a", "u"), node("Mul", "x u")],
        {"a": whole(3, 2)}, 13, ["global_avg_pool", "flatten", "reshape", "reshape", "mul"],
    ),
    "identity": ([RELU, node("Identity", "r")], {}, 7, ["activation"]),
    "cast": ([RELU, node("Cast", "r", to=1)], {}, 13, ["activation"]),
    "reshape": ([node("Reshape", "x s")], {"s": whole(0, -1)}, 13, ["flatten"]),
    "reshape, batch open": ([node("Reshape", "x s")], {"s": whole(-1, 50)}, 5, ["flatten"]),
    "reshape, size kept": ([node("Reshape", "x s")], {"s": whole(0, 0, 25)}, 14, ["reshape"]),
    "reshape by shape": (
        [
            node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n zeros", "m"),
            node("Concat", "m rest", "t", axis=0), node("Reshape", "x t"),
        ],
        {"zero": np.int64(0), "zeros": whole(0), "rest": whole(-1)}, 13, ["flatten"],
    ),
    "expand": (
        [POOL, node("Expand", "p s", "e"), node("Mul", "x e")], {"s": whole(1, 2, 5, 5)}, 13, ["global_avg_pool", "mul"],
    ),
    "there and back": ([FORTH, node("Transpose", "t", "u", perm=[0, 3, 1, 2]), node("Relu", "u")], {}, 17, ["activation"]),
    "channels last": (
        [FORTH, node("Relu", "t", "u"), node("Transpose", "u", perm=[0, 3, 1, 2])],
        {}, 17, ["permute", "activation", "permute"],
    ),
    "turned twice": (
        [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("Transpose", "t", perm=[0, 3, 2, 1])], {}, 17, ["permute"],
    ),
    "sum of maps": ([node("ReduceSum", "x a")], {"a": whole(1)}, 13, ["sum", "reshape"]),
    "sum away": ([node("ReduceSum", "x", axes=[-1], keepdims=0)], {}, 11, ["sum"]),
}  # fmt: skip


@pytest.mark.parametrize("case", COVERED)
def test_an_operator_on_maps_computes_what_onnxruntime_does(case: str, tmp_path: Path) -> None:
    nodes, constants, opset, ops = COVERED[case]
    found = agree(model(nodes, constants=constants, opset=opset), tmp_path, IMAGES)
    assert [made.op for made in found.graph] == ["input", *ops, "output"]


@pytest.mark.parametrize("sizes", [(1, -1), (1, 50)])
def test_a_batch_that_the_file_fixes_is_any_batch(sizes: tuple[int, ...], tmp_path: Path) -> None:
    made = model([node("Reshape", "x s")], (1, 2, 5, 5), {"s": whole(*sizes)})
    found = agree(made, tmp_path, IMAGES[:1])
    assert found.graph.output_shape == (50,)


def test_zeros_for_a_fixed_batch_are_padding(tmp_path: Path) -> None:
    made = model([node("Concat", "x z", axis=1)], (1, 2, 5, 5), {"z": np.zeros((1, 3, 5, 5), np.float32)})
    assert agree(made, tmp_path, IMAGES[:1]).graph["pad"].attr("pads") == (0, 0, 0, 0, 0, 3)


REFUSED: dict[str, tuple[list[Any], dict[str, Any], int, str]] = {
    "constant": ([node("Mul", "x c")], {"c": floats(2, 1, 1)}, 17, "mul with the constant 'c' is not covered"),
    "subtraction": ([RELU, node("Sub", "x r")], {}, 17, "it subtracts"),
    "concat over rows": ([RELU, node("Concat", "x r", axis=2)], {}, 17, "joining over axis 2 is not covered"),
    "concat with numbers": ([node("Concat", "x c", axis=1)], {"c": floats(1, 2, 5, 5)}, 17, "it joins the constant 'c'"),
    "pad of the batch": ([node("Pad", "x p")], {"p": whole(1, 0, 0, 0, 0, 0, 0, 0)}, 13, "it pads the batch"),
    "pad in short": ([node("Pad", "x p")], {"p": whole(1, 1)}, 13, "padding .* is not covered"),
    "slice backwards": (
        [node("Slice", "x s e a d")], {"s": whole(4), "e": whole(0), "a": whole(3), "d": whole(-1)}, 13, "turns an axis round",
    ),
    "slice of images": ([node("Slice", "x", starts=[0], ends=[1], axes=[0])], {}, 9, "only part of the batch"),
    "flatten of the batch": ([node("Flatten", "x", axis=2)], {}, 13, "it flattens before and behind axis 2"),
    "reshape into the batch": ([node("Reshape", "x s")], {"s": whole(1, -1)}, 13, "it mixes the batch"),
    "sizes from images": ([node("Reshape", "x x")], {}, 13, "its shape are not whole numbers known beforehand"),
    "number": ([node("Reshape", "x s")], {"s": whole()}, 13, "it makes one number of a map"),
    "whole numbers": ([node("Cast", "x", to=7)], {}, 13, "it makes whole numbers of a map"),
    "transposed batch": ([node("Transpose", "x")], {}, 13, "it moves the batch axis"),
    "sum over images": ([node("ReduceSum", "x a")], {"a": whole(0)}, 13, "along the batch axis"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_operator_without_a_canonical_form_is_refused(case: str, tmp_path: Path) -> None:
    nodes, constants, opset, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        read(model(nodes, constants=constants, opset=opset), tmp_path)
