from __future__ import annotations

import numpy as np
import pytest
import torch

from idsnn_convert.passes.builder import Builder, Site
from idsnn_convert.passes.load.onnx.values import Call, Known, as_param, tidy
from idsnn_convert.passes.values import BATCH, UnsupportedError


def call(*args: object, **attrs: object) -> Call:
    return Call(Builder((1, 2, 2)), Site(""), "Op", 1, args, attrs)


def test_a_setting_is_an_attribute_or_an_input() -> None:
    sizes = Known("s", np.array([BATCH, 3], dtype=object))
    assert call(axes=[1, 2]).ints("axes", 1) == [1, 2]
    assert call(axis=1).ints("axis") == [1]
    assert call(None, sizes).ints("axes", 1) == [BATCH, 3]
    assert call(None).ints("axes", 1) is None
    assert call(ratio=0.10000000149011612).number("ratio", 1) == 0.1
    assert call(None, Known("r", np.array([0.3], np.float32))).number("ratio", 1) == 0.3
    assert call(None).number("ratio", 1, 0.5) == 0.5
    with pytest.raises(UnsupportedError, match="its axes are not whole numbers"):
        call(None, Known("r", np.array([0.3], np.float32))).ints("axes", 1)
    with pytest.raises(UnsupportedError, match="its ratio is not one number"):
        call(None, Known("r", np.zeros(2))).number("ratio", 1)


def test_a_map_and_weights_have_to_be_what_they_are_taken_for() -> None:
    with pytest.raises(UnsupportedError, match="it needs a map, not the constant 'w'"):
        call(Known("w", np.zeros(2))).map()
    with pytest.raises(UnsupportedError, match="it needs a map, not nothing"):
        call().map()
    images = Builder((1, 2, 2)).input
    with pytest.raises(UnsupportedError, match="its weight is computed from the input"):
        call(images).param(0)


def test_weights_keep_their_kind_and_are_writable() -> None:
    array = np.array([1, 2], np.float16)
    array.flags.writeable = False
    made = as_param(Known("w", array))
    assert (made.origin, made.tensor.dtype) == ("w", torch.float16)
    made.tensor.zero_()
    assert array.tolist() == [1, 2]
    brain = pytest.importorskip("ml_dtypes").bfloat16
    assert as_param(Known("w", np.array([1.5, -2], brain))).tensor.equal(torch.tensor([1.5, -2], dtype=torch.bfloat16))
    with pytest.raises(UnsupportedError, match="the constant 'w' holds int64 numbers"):
        as_param(Known("w", np.array([1])))


def test_single_precision_is_read_as_it_was_meant() -> None:
    assert [tidy(float(np.float32(value))) for value in (1e-5, 0.9, 1 / 3, 6, 0)] == [1e-5, 0.9, 0.3333333, 6, 0]
