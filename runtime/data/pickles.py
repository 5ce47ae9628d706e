"""Reading the pickles CIFAR is published in without running anything they name.

A pickle is a program; what it calls, it looks up by name. Here every name but the four that an array needs is
refused, and those four resolve to stand-ins of ours: numpy itself never sees a state the file made up.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from idsnn_convert.runtime.data.files import contents
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.steps import check_steps


def load(path: Path) -> Any:
    """The dictionaries, lists, strings, bytes, numbers and uint8 arrays pickled in ``path``; byte strings used as
    keys come back as text.

    Raises:
        UserError: if the file names anything else to be called, or is damaged. Nothing it names has run then.
    """
    raw = contents(path)
    try:
        check_steps(str(path), raw)  # Python's reader makes a table as long as the largest place that is named
        return _plain(_Unpickler(raw, path).load())
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can fail in a dozen ways; none of them is ours to tell apart
        raise UserError(
            f"{path} ({len(raw):,} bytes) is truncated or not a pickled batch: {error}", hint="Fetch or unpack the file again."
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, raw: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(raw), encoding="bytes")  # what Python 2 wrote as str are bytes
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise UserError(
                f"{self.path} asks for {module}.{name}, which no image batch needs; nothing in it was executed",
                hint="Use the binary layout, or a copy of the file from its publisher.",
            )
        return _StandIn(_ADMITTED[module, name])


class _StandIn:
    """What an admitted name resolves to: a maker of plain values that the file can call but not alter."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("it sets the state of a function")


class _DType:
    """``numpy.dtype(text, ...)`` of the file: its text alone."""

    def __init__(self, text: str | bytes, *_: Any) -> None:
        self.text = text.decode("ascii") if isinstance(text, bytes) else text

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment: nothing an array of bytes needs."""


class _Array:
    """``numpy._core.multiarray._reconstruct(...)`` of the file, which sets its state next."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _DType) or dtype.text.lstrip("|") not in ("u1", "uint8"):
            raise pickle.UnpicklingError(f"it holds an array of {getattr(dtype, 'text', dtype)!r:.40}, not of uint8")
        self.value = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


def _encoded(text: str, encoding: str | bytes) -> bytes:
    """``_codecs.encode``: how protocol 2 writes bytes."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r:.40}")
    return text.encode("latin1")


def _ndarray(*_: Any) -> NoReturn:
    raise pickle.UnpicklingError("it calls numpy.ndarray instead of restoring an array")


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encoded,
}


def _plain(value: Any) -> Any:
    """``value`` with stand-ins replaced by what they stand for, one level deep: a batch is a flat dictionary."""
    found = value.items() if isinstance(value, dict) else ()
    made = {key.decode("latin1") if isinstance(key, bytes) else key: _restored(item) for key, item in found}
    return made if isinstance(value, dict) else _restored(value)


def _restored(value: Any) -> Any:
    return value.value if isinstance(value, _Array) else value
