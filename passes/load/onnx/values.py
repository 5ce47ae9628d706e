"""What the arguments of an ONNX node are, and how its operator reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from idsnn_convert.passes.builder import Builder, Site
from idsnn_convert.passes.values import Map, Param, UnsupportedError


@dataclass(frozen=True, eq=False)
class Known:
    """A constant: an initializer, or what was computed from constants and the shapes of maps.

    Attributes:
        origin: its name in the file.
        array: of numbers; of objects where one of them is the batch size.
    """

    origin: str
    array: np.ndarray[Any, Any]

    def __str__(self) -> str:
        return f"the constant {self.origin!r}"


@dataclass(frozen=True, eq=False)
class Unbiased:
    """A layer without a bias that only an addition of a constant reads: made when that is known to be its bias or not.

    Attributes:
        make: the layer's value, given its bias.
        channels: how many numbers a bias has.
        trailing: how many axes follow the channels in the layer's result.
    """

    make: Callable[[Param | None], Map]
    channels: int
    trailing: int


@dataclass(frozen=True)
class Call:
    """One node on its way to the canonical graph.

    Attributes:
        since: version of the operator: the first opset that has it in this form.
        args: a value for each input; None for one left out.
        outputs: how many of its results are read.
        batch: the batch size the file fixes; None for any.
        biased: its result is only read by the addition of a constant.
        turned: name of a node that reorders axes -> what it reads, and which axis of that each of its axes is.
    """

    b: Builder
    site: Site
    op: str
    since: int
    args: tuple[Any, ...]
    attrs: Mapping[str, Any]
    outputs: int = 1
    batch: int | None = None
    biased: bool = False
    turned: dict[str, tuple[Map, list[int]]] = field(default_factory=dict)

    def arg(self, position: int) -> Any:
        """The argument there; None if it is left out."""
        return self.args[position] if position < len(self.args) else None

    def map(self, position: int = 0) -> Map:
        """The map there.

        Raises:
            UnsupportedError: if it is none.
        """
        value = self.arg(position)
        if not isinstance(value, Map):
            raise UnsupportedError(f"it needs a map, not {value or 'nothing'}", "Export the network in inference mode.")
        return value

    def param(self, position: int) -> Param:
        """The weights there.

        Raises:
            UnsupportedError: if they are not stored in the file.
        """
        value = self.arg(position)
        if not isinstance(value, Known):
            raise UnsupportedError(
                "its weight is computed from the input", "Only layers with weights of their own are covered."
            )
        return as_param(value)

    def ints(self, key: str, position: int | None = None) -> list[Any] | None:
        """A list of whole numbers, given as an attribute or, in later versions, as an input; None if it is left out.

        Raises:
            UnsupportedError: if it is computed from values of the images.
        """
        if key in self.attrs:
            found = self.attrs[key]
            return list(found) if isinstance(found, list | tuple) else [found]
        value = None if position is None else self.arg(position)
        if value is None:
            return None
        if not isinstance(value, Known) or value.array.dtype.kind not in "iuO":
            raise UnsupportedError(f"its {key} are not whole numbers known beforehand", "Export with constant sizes.")
        return list(value.array.reshape(-1).tolist())

    def number(self, key: str, position: int, default: float | None = None) -> float | None:
        """One number, given as an attribute or, in later versions, as an input.

        Raises:
            UnsupportedError: if it is computed from values of the images.
        """
        if key in self.attrs:
            return tidy(self.attrs[key])
        value = self.arg(position)
        if value is None:
            return default
        if not isinstance(value, Known) or value.array.size != 1:
            raise UnsupportedError(f"its {key} is not one number known beforehand", "Export with constant settings.")
        return tidy(value.array.item())


def as_param(value: Known) -> Param:
    """Its numbers as a tensor of their own.

    Raises:
        UnsupportedError: if they are no floats.
    """
    array = value.array
    if str(array.dtype) == "bfloat16":  # which torch does not take from an array
        return Param(value.origin, torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16))
    if array.dtype.kind != "f":
        raise UnsupportedError(f"{value} holds {array.dtype} numbers, not weights", "Give the network unquantised.")
    return Param(value.origin, torch.from_numpy(np.array(array)))


def tidy(value: float) -> float:
    """A setting as its author wrote it: files keep 1e-5 in single precision, 9.999999747378752e-06."""
    return float(f"{value:.7g}")
