from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from idsnn_convert.passes.builder import Builder, Site
from idsnn_convert.passes.load.onnx import folds
from idsnn_convert.passes.load.onnx.values import Call, Known
from idsnn_convert.passes.values import BATCH, UnsupportedError, Zeros


def call(*arrays: Any, **attrs: object) -> Call:
    args = tuple(None if array is None else Known(str(i), np.asarray(array)) for i, array in enumerate(arrays))
    return Call(Builder((1, 2, 2)), Site(""), "Op", 1, args, attrs)


TABLE = np.arange(6).reshape(2, 3)
SIZES = np.array([BATCH, 64, 8, 8], dtype=object)


@pytest.mark.parametrize(
    ("fold", "made", "found"),
    [
        (folds.identity, call(TABLE), TABLE),
        (folds.transpose, call(TABLE), TABLE.T),
        (folds.transpose, call(TABLE, perm=[1, 0]), TABLE.T),
        (folds.reshape, call(TABLE, [3, -1]), TABLE.reshape(3, 2)),
        (folds.reshape, call(TABLE, [0, -1]), TABLE),
        (folds.squeeze, call([[[1], [2]]], axes=[0]), [[1], [2]]),
        (folds.squeeze, call([[[1], [2]]]), [1, 2]),
        (folds.unsqueeze, call([1, 2], [0, 2]), [[[1], [2]]]),
        (folds.unsqueeze, call([1, 2], axes=[1]), [[1], [2]]),
        (folds.gather, call(SIZES, 1), 64),
        (folds.gather, call(TABLE, [2, 0], axis=1), [[2, 0], [5, 3]]),
        (folds.concat, call([1], [2, 3], axis=0), [1, 2, 3]),
        (folds.slice_, call(SIZES, [2], [9]), [8, 8]),
        (folds.slice_, call(TABLE, [-1], [-(2**63)], [1], [-1]), [[2, 1, 0], [5, 4, 3]]),
        (folds.slice_, call(TABLE, [2], [0], [1], [-1]), [[2, 1], [5, 4]]),
        (folds.shape, call(TABLE), [2, 3]),
        (folds.shape, call(TABLE, start=1), [3]),
        (folds.constant_of_shape, call([2, 1]), [[0], [0]]),
        (folds.constant_of_shape, call([2], value=np.array([7])), [7, 7]),
        (folds.add, call([1, 2], 3), [4, 5]),
        (folds.sub, call([1, 2], 3), [-2, -1]),
        (folds.mul, call(np.array([8, 8], dtype=object), 2), [16, 16]),
        (folds.div, call(7, 2), 3),
        (folds.div, call(7.0, 2.0), 3.5),
        (folds.cast, call([1.0, 2.0], to=7), [1, 2]),
        (folds.cast, call([1, 2], to=1), [1, 2]),
    ],
)
def test_constants_are_computed_as_onnx_says(fold: Any, made: Call, found: Any) -> None:
    result = fold(made)
    assert isinstance(result, np.ndarray)
    assert result.tolist() == np.asarray(found).tolist()


def test_the_batch_size_goes_through() -> None:
    joined = folds.concat(call(folds.gather(call(SIZES, [0])), [-1], axis=0))
    assert joined.tolist() == [BATCH, -1]
    assert folds.cast(call(SIZES, to=7)).tolist() == SIZES.tolist()
    assert folds.constant_of_shape(call(np.array([BATCH, 2, 8, 8], dtype=object))) == Zeros((2, 8, 8))


BIG = np.zeros(folds.LARGEST + 1)


@pytest.mark.parametrize(
    ("fold", "made", "message"),
    [
        (folds.mul, call(SIZES, 2), "it computes with the batch size"),
        (folds.add, call(BIG, 1), "it computes weights from weights"),
        (folds.add, call(BIG[:100, None], BIG[:100]), "it computes weights from weights"),
        (folds.concat, call(BIG, BIG, axis=0), "it computes weights from weights"),
        (folds.gather, call(BIG, [0]), "it computes weights from weights"),
        (folds.mul, call(np.array([1 << 62], dtype=object), 4), "no 64-bit number"),
        (folds.constant_of_shape, call([1 << 40]), "it makes a constant of shape"),
        (folds.constant_of_shape, call([1 << 10, 1 << 10]), "it makes a constant of shape"),
        (folds.constant_of_shape, call(SIZES, value=np.ones(1)), "it makes a constant of shape"),
    ],
)
def test_what_would_grow_or_has_no_value_is_refused(fold: Any, made: Call, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        fold(made)
