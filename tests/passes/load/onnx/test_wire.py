from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("onnx")
import onnx

from idsnn_convert.passes.load.onnx.file import read_onnx
from idsnn_convert.passes.load.onnx.wire import check_wire
from idsnn_convert.runtime.errors import UserError
from tests.passes.load.onnx.made import export


def packed(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    length, told = len(content), b""
    while length > 127:
        told, length = told + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + told + bytes([length]) + content


GRAPH, NODE, INITIALIZER, INT64_DATA, ATTRIBUTE, ATTRIBUTES_GRAPH = 7, 1, 5, 7, 5, 6


def test_what_pytorch_exports_passes() -> None:
    torch.manual_seed(0)
    check_wire(export(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (3, 8, 8)))


def test_every_field_of_a_model_is_stepped_over() -> None:
    tensor = onnx.TensorProto(dims=[2], float_data=[1.0, 2.0], double_data=[1.0], int64_data=[1, 2**62], string_data=[b"x"])
    model = onnx.ModelProto(ir_version=8, doc_string="x" * 300, graph=onnx.GraphProto(initializer=[tensor]))
    model.graph.node.add(op_type="x").attribute.add(name="a", f=1.5, ints=[-1], floats=[0.5] * 40)
    check_wire(model.SerializeToString())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (packed(GRAPH, packed(NODE, b"") * 600_000), "more than 500,000 parts"),
        (packed(GRAPH, packed(INITIALIZER, packed(INT64_DATA, bytes(9 << 20)))), "more than 8,388,608 numbers one by one"),
    ],
    ids=["empty nodes", "small numbers"],
)
def test_much_of_little_is_refused_before_it_is_made(data: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(UserError, match=told):
        read_onnx(tmp_path / "a.onnx")


def test_graphs_within_graphs_are_refused() -> None:
    inner = b""
    for _ in range(30):
        inner = packed(NODE, packed(ATTRIBUTE, packed(ATTRIBUTES_GRAPH, inner)))
    with pytest.raises(UserError, match="more than 64 deep"):
        check_wire(packed(GRAPH, inner))


@pytest.mark.parametrize("data", [b"\x08", b"\x3a\x05ab", b"\x0f", b"\xff" * 20])
def test_what_is_no_protobuf_is_told(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        check_wire(data)
