"""ONNX operators on constants, computed when the file is read: the sizes and settings that exporters write as nodes.

Each function takes the :class:`Call` of a node whose arguments are all
:class:`idsnn_convert.passes.load.onnx.values.Known` and gives the result as an array.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from idsnn_convert.passes.load.onnx.values import Call
from idsnn_convert.passes.values import BATCH, UnsupportedError, Zeros

Array = np.ndarray[Any, Any]

LARGEST = 1 << 12
"""Most elements an argument may have of an operation whose result may be larger; weights are not computed, sizes are."""


def _arrays(c: Call, small: bool = False) -> list[Array]:
    arrays = [value.array for value in c.args if value is not None]
    if small and any(array.size > LARGEST for array in arrays):
        raise UnsupportedError("it computes weights from weights", "Export with constant folding.")
    return arrays


def identity(c: Call) -> Array:
    return _arrays(c)[0]


def cast(c: Call) -> Array:
    """To whole numbers or to floats; only weights and settings are constants, so their precision does not matter."""
    array = _arrays(c)[0]
    whole = c.attrs["to"] in (6, 7)  # INT32, INT64
    return array.astype(np.int64) if whole and array.dtype.kind != "O" else array


def transpose(c: Call) -> Array:
    return np.asarray(_arrays(c)[0].transpose(c.ints("perm")))


def reshape(c: Call) -> Array:
    array, sizes = c.args[0].array, c.ints("shape", 1) or []
    kept = [array.shape[i] if size == 0 and not c.attrs.get("allowzero") else size for i, size in enumerate(sizes)]
    return np.asarray(array.reshape(kept))


def squeeze(c: Call) -> Array:
    axes = c.ints("axes", 1)
    return np.asarray(np.squeeze(c.args[0].array, None if axes is None else tuple(axes)))


def unsqueeze(c: Call) -> Array:
    return np.asarray(np.expand_dims(c.args[0].array, tuple(c.ints("axes", 1) or ())))


def gather(c: Call) -> Array:
    data, indices = _arrays(c, small=True)
    return np.asarray(np.take(data, indices.astype(np.int64), axis=c.attrs.get("axis", 0)))


def concat(c: Call) -> Array:
    return np.concatenate(_arrays(c, small=True), axis=c.attrs.get("axis", 1))


def slice_(c: Call) -> Array:
    array = c.args[0].array
    starts, stops = c.ints("starts", 1) or [], c.ints("ends", 2) or []
    axes = c.ints("axes", 3) or list(range(len(starts)))
    steps = c.ints("steps", 4) or [1] * len(starts)
    cut = [slice(None)] * array.ndim
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        # INT64_MIN and the like mean "to the front" where the step is negative; a plain -1 would mean the last element.
        cut[axis] = slice(start, None if step < 0 and stop < -array.shape[axis] else stop, step)
    return np.asarray(array[tuple(cut)])


def shape(c: Call) -> Array:
    sizes = np.array(c.args[0].array.shape, np.int64)
    return sizes[c.attrs.get("start", 0) : c.attrs.get("end", len(sizes))]


def constant_of_shape(c: Call) -> Array | Zeros:
    """The pads of a shortcut without weights; with the batch size, a map of zeros."""
    sizes, value = c.ints("shape", 0) or [], c.attrs.get("value", np.zeros(1, np.float32))
    if sizes and sizes[0] is BATCH and not value.any():
        return Zeros(tuple(sizes[1:]))
    if not all(isinstance(size, int) and 0 <= size <= LARGEST for size in sizes) or np.prod(sizes, dtype=float) > LARGEST:
        raise UnsupportedError(f"it makes a constant of shape {sizes}", "Fold constants into a layer.")
    return np.full(sizes, value.item(), value.dtype)


def arithmetic(compute: Callable[[Any, Any], Any], whole: Callable[[Any, Any], Any] | None = None) -> Callable[[Call], Array]:
    """Of two constants.

    Args:
        compute: on floats, and on whole numbers unless ``whole`` is given for them.
    """

    def fold(c: Call) -> Array:
        first, second = _arrays(c, small=True)
        if BATCH in (*first.reshape(-1).tolist(), *second.reshape(-1).tolist()):
            raise UnsupportedError("it computes with the batch size", "Keep the batch first: x.flatten(1).")
        if first.size * second.size > LARGEST:
            raise UnsupportedError("it computes weights from weights", "Export with constant folding.")
        integers = first.dtype.kind in "iuO" and second.dtype.kind in "iuO"
        with np.errstate(all="ignore"):
            found = np.asarray((whole if whole and integers else compute)(first, second))
        if found.dtype.kind == "O" and any(abs(number) >= 1 << 63 for number in found.reshape(-1).tolist()):
            raise UnsupportedError("its result is no 64-bit number", "The file is damaged.")
        return found

    return fold


add = arithmetic(operator.add)
sub = arithmetic(operator.sub)
mul = arithmetic(operator.mul)
div = arithmetic(operator.truediv, operator.floordiv)
