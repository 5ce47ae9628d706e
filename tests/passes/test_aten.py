"""Single calls through the table, against torch's own answer; whole networks are in test_trace.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.passes.aten import ATEN, call
from idsnn_convert.passes.builder import Builder, Site
from idsnn_convert.passes.types import Canonical
from idsnn_convert.passes.values import BATCH, Map, Param, UnsupportedError
from idsnn_convert.runtime.network import build

SITE = Site("")


def one_call(name: str, *args: Any, shape: tuple[int, ...] = (4, 6, 8), pick: int | None = None, **kwargs: Any) -> Canonical:
    """The graph of one call whose first argument is the input; of several results the one to ``pick``."""
    b = Builder(shape)
    result = call(b, SITE, name, (b.input, *args), kwargs)
    return b.canonical(result if pick is None else result[pick])


def operations(traced: Canonical) -> list[str]:
    return [node.op for node in traced.graph][1:-1]


SAME: dict[str, tuple[tuple[Any, ...], Callable[[Tensor], Tensor], list[str]]] = {
    "clamp from 0": (("clamp_min", 0), torch.relu, ["activation"]),
    "clamp from 0 to 6": (("clamp", 0, 6), F.relu6, ["activation"]),
    "pool to a size": (("adaptive_avg_pool2d", (2, None)), lambda x: F.adaptive_avg_pool2d(x, (2, None)), ["avg_pool2d"]),
    "pool to one pixel": (("adaptive_avg_pool2d", 1), lambda x: F.adaptive_avg_pool2d(x, 1), ["global_avg_pool"]),
    "pool over the whole map": (("avg_pool2d", [6, 8]), lambda x: F.avg_pool2d(x, (6, 8)), ["global_avg_pool"]),
    "pool over nothing": (("avg_pool2d", 1), lambda x: x, []),
    "pool with a stride alone": (("avg_pool2d", 1, 2), lambda x: x[:, :, ::2, ::2], ["avg_pool2d"]),
    "mean without its axes": (("mean", (-1, -2)), lambda x: x.mean((2, 3)), ["global_avg_pool", "flatten"]),
    "sum of axes": (("sum", (1, 3)), lambda x: x.sum((1, 3)), ["sum", "sum"]),
    "sum of kept axes": (("sum", [2], True), lambda x: x.sum(2, keepdim=True), ["sum", "reshape"]),
    "softmax": (("softmax", -1), lambda x: x.softmax(3), ["gate"]),
    "flattened rows": (("flatten", 2), lambda x: x.flatten(2), ["reshape"]),
    "view of unknown size": (("view", [BATCH, 2, -1]), lambda x: x.view(len(x), 2, -1), ["reshape"]),
    "view of what it is": (("view", [-1, 4, 6, 8]), lambda x: x, []),
    "new axis": (("unsqueeze", -1), lambda x: x.unsqueeze(-1), ["reshape"]),
    "axis that is not 1": (("squeeze", 2), lambda x: x, []),
    "order": (("permute", (0, -1, 1, 2)), lambda x: x.permute(0, 3, 1, 2), ["permute"]),
    "order that is kept": (("permute", (0, 1, 2, 3)), lambda x: x, []),
    "swapped axes": (("transpose", 1, -1), lambda x: x.transpose(1, 3), ["permute"]),
    "one channel": (("select", 1, -1), lambda x: x[:, -1], ["slice", "reshape"]),
    "rows from the end": (("slice", 2, -3, None, 2), lambda x: x[:, :, -3::2], ["slice"]),
    "whole axis": (("slice", 1, 0, 2**63 - 1), lambda x: x, []),
    "padding of nothing": (("pad", [0, 0, 0, 0]), lambda x: x, []),
    "padding with a value": (("constant_pad_nd", [1, 0], 2.0), lambda x: F.pad(x, (1, 0), value=2.0), ["pad"]),
    "times a constant": (("mul", -0.5), lambda x: x * -0.5, ["scale"]),
    "group norm without weights": (("group_norm", 2), lambda x: F.group_norm(x, 2), ["group_norm"]),
    "one minus": (("rsub", 1), lambda x: 1 - x, ["complement"]),
    "plus nothing": (("add", 0), lambda x: x, []),
    "times one": (("mul", 1), lambda x: x, []),
    "dropout of nothing": (("dropout", 0.0, False), lambda x: x, []),
}


@pytest.mark.parametrize(("spelled", "expected", "ops"), SAME.values(), ids=SAME)
def test_a_call_computes_what_torch_computes(
    spelled: tuple[Any, ...], expected: Callable[[Tensor], Tensor], ops: list[str]
) -> None:
    traced = one_call(*spelled)
    x = torch.randn(3, 4, 6, 8)
    torch.testing.assert_close(build(traced.graph, {}).eval()(x), expected(x))
    assert operations(traced) == ops


@pytest.mark.parametrize("pick", [0, 1, -1])
def test_calls_with_several_results(pick: int) -> None:
    x = torch.randn(3, 5, 6, 8)
    for spelled, expected in [
        (("split", 2, 1), x.split(2, 1)),
        (("split_with_sizes", [1, 4], 1), x.split([1, 4], 1)),
        (("chunk", 3, 1), x.chunk(3, 1)),
        (("unbind", 2), x.unbind(2)),
    ]:
        traced = one_call(*spelled, shape=(5, 6, 8), pick=pick)
        torch.testing.assert_close(build(traced.graph, {})(x), expected[pick])


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 2)])
@pytest.mark.parametrize("padding", ["same", "valid", (2, 1)])
def test_convolution_padding(kernel: tuple[int, int], padding: Any) -> None:
    weight = Param("conv.weight", torch.randn(2, 4, *kernel))
    traced = one_call("conv2d", weight, None, (1, 1), padding)
    x = torch.randn(3, 4, 6, 8)
    torch.testing.assert_close(build(traced.graph, traced.tensors)(x), F.conv2d(x, weight.tensor, None, 1, padding))


def test_decomposed_layers() -> None:
    weight, bias = Param("weight", torch.randn(5, 4)), Param("bias", torch.randn(5))
    b = Builder((4, 1, 1))
    features = call(b, SITE, "view", (b.input, [BATCH, 4]), {})
    traced = b.canonical(call(b, SITE, "addmm", (bias, features, Param("weight", weight.tensor.t())), {}))
    x = torch.randn(3, 4, 1, 1)
    torch.testing.assert_close(build(traced.graph, traced.tensors)(x), F.linear(x.flatten(1), weight.tensor, bias.tensor))


def test_a_cumulative_average_is_given_the_default_momentum() -> None:
    statistics = [Param(name, torch.ones(4)) for name in ("mean", "var")]
    for momentum in (None, 0.0):
        traced = one_call("batch_norm", None, None, *statistics, False, momentum, 1e-3)
        assert dict(traced.graph["batch_norm"].attrs) == {"channels": 4, "eps": 1e-3, "momentum": 0.1, "affine": False}


def test_an_expanded_map_is_joined_as_it_is() -> None:
    b = Builder((4, 6, 8))
    pooled = call(b, SITE, "mean", (b.input, (2, 3), True), {})
    wide = call(b, SITE, "expand_as", (pooled, b.input), {})
    assert wide.shape == (4, 6, 8)
    traced = b.canonical(call(b, SITE, "mul", (b.input, wide), {}))
    assert operations(traced) == ["global_avg_pool", "mul"]
    assert traced.graph["mul"].inputs == ("input", "global_avg_pool")


REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "no row": (("fft",), "fft has no canonical form"),
    "unknown argument": (("avg_pool2d", 2, 2, 0, False, True, None, 7), "avg_pool2d is not covered with these arguments"),
    "too many sizes": (("adaptive_avg_pool2d", (1, 2, 3)), "adaptive_avg_pool2d is not covered"),
    "indices": (("max_pool2d", 2, 2, 0, 1, False, True), "returns indices"),
    "batch statistics": (("batch_norm", None, None, *[Param("p", torch.ones(4))] * 2, True), "batch statistics even in eval"),
    "half affine": (("batch_norm", *[Param("p", torch.ones(4)), None], *[Param("p", torch.ones(4))] * 2), "but not both"),
    "transposed": (("convolution", Param("w", torch.ones(4, 4, 1, 1)), None, 1, 0, 1, True, 0, 1), "transposed"),
    "stacked last": (("stack", -1), "stack"),
    "new axes": (("expand", (BATCH, 2, 4, 6, 8)), "expands to new axes"),
    "zeros of no batch": (("new_zeros", (3, 4)), "zeros for no batch"),
    "not a number": (("mul", math.nan), "mul with nan is not covered"),
    "half a group norm": (("group_norm", 2, Param("p", torch.ones(4))), "but not both"),
    "groups that do not divide": (("group_norm", 3), "3 groups do not divide 4 channels"),
    "layer norm at each pixel": (("layer_norm", [8]), r"a layer norm over \(8,\) of a \(4, 6, 8\) map"),
    "product with a parameter": (("matmul", Param("p", torch.ones(8, 1))), "attention"),
    "two minus": (("rsub", 2), "2 - x is not covered"),
    "wrong channels": (("conv2d", Param("w", torch.ones(2, 3, 1, 1))), "its input has 4 channels"),
}  # fmt: skip


@pytest.mark.parametrize(("spelled", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_exact_form_is_refused(spelled: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason) as refused:
        one_call(*spelled)
    assert refused.value.advice


def test_a_product_of_two_matrices_is_refused_and_one_with_a_column_is_a_weighted_sum() -> None:
    b = Builder((4, 6, 8))
    turned = call(b, SITE, "transpose", (b.input, 1, 3), {})
    with pytest.raises(UnsupportedError, match="product of two matrices"):
        call(b, SITE, "matmul", (b.input, call(b, SITE, "permute", (turned, (0, 3, 1, 2)), {})), {})
    column = call(b, SITE, "slice", (call(b, SITE, "permute", (b.input, (0, 1, 3, 2)), {}), 3, 0, 1), {})
    traced = b.canonical(call(b, SITE, "matmul", (b.input, column), {}))
    x = torch.randn(3, 4, 6, 8)
    torch.testing.assert_close(build(traced.graph, {})(x), x @ x.transpose(2, 3)[..., :1])


def test_a_layer_norm_over_all_features_is_a_group_norm_of_one_group() -> None:
    weight, bias = Param("weight", torch.randn(4)), Param("bias", torch.randn(4))
    b = Builder((4, 1, 1))
    turned = call(b, SITE, "permute", (b.input, (0, 2, 3, 1)), {})
    traced = b.canonical(call(b, SITE, "layer_norm", (turned, [4], weight, bias, 1e-3), {}))
    x = torch.randn(3, 4, 1, 1)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), [4], weight.tensor, bias.tensor, 1e-3)
    torch.testing.assert_close(build(traced.graph, traced.tensors)(x), expected)


def test_stacking_along_another_axis_than_the_first_is_refused() -> None:
    b = Builder((4, 6, 8))
    with pytest.raises(UnsupportedError, match="stacking along axis 2"):
        call(b, SITE, "stack", ([b.input, b.input], 2), {})


def test_a_map_of_zeros_is_no_map_to_compute_with() -> None:
    b = Builder((4, 6, 8))
    zeros = call(b, SITE, "zeros_like", (b.input,), {})
    with pytest.raises(UnsupportedError, match="a map of zeros"):
        call(b, SITE, "relu", (zeros,), {})


def test_a_copy_is_another_value_of_the_same_node() -> None:
    b = Builder((4, 6, 8))
    copy = call(b, SITE, "clone", (b.input,), {})
    assert isinstance(copy, Map)
    assert copy is not b.input
    assert copy.node == "input"


def test_no_row_has_the_name_of_an_in_place_form() -> None:
    assert not [name for name in ATEN if name.endswith("_")]
