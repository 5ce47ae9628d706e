"""An ONNX graph in the making: calls are appended, constants named once, names kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

Array = NDArray[Any]


class Emitter:
    """Nodes and constants of one graph; of a loop's body, a second emitter with the same ``constants``.

    Attributes:
        opset: the version of ONNX's own operators to write.
        nodes: in the order they were emitted, which is an order they can run in.
        constants: name -> value; those of a body lie in the graph around it, where a body may read them.
    """

    def __init__(self, opset: int, outer: Emitter | None = None) -> None:
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {} if outer is None else outer.constants
        self._taken: set[str] = set() if outer is None else outer._taken

    def name(self, wanted: str) -> str:
        """``wanted``, or with a number behind it if it is taken."""
        found, number = wanted, 1
        while found in self._taken:
            number += 1
            found = f"{wanted}_{number}"
        self._taken.add(found)
        return found

    def call(self, operator: str, inputs: Sequence[str], wanted: str, **attributes: Any) -> str:
        """Appends a node with one result, and gives that result's name."""
        return self.calls(operator, inputs, (wanted,), **attributes)[0]

    def calls(self, operator: str, inputs: Sequence[str], wanted: Sequence[str], **attributes: Any) -> tuple[str, ...]:
        """Appends a node with several results, and gives their names."""
        results = tuple(map(self.name, wanted))
        self.nodes.append(helper.make_node(operator, list(inputs), list(results), name=results[0], **attributes))
        return results

    def tensor(self, wanted: str, value: Tensor) -> str:
        """A constant that is a tensor of the network, under its own name."""
        return self.array(wanted, value.detach().cpu().contiguous().numpy())

    def array(self, wanted: str, value: Array) -> str:
        name = self.name(wanted)
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def integers(self, values: Sequence[int]) -> str:
        """A vector of int64, shared by all who ask for the same one."""
        return self._shared("ints_" + "_".join(map(str, values)), np.asarray(values, dtype=np.int64))

    def number(self, value: float) -> str:
        """A float32 scalar, shared by all who ask for the same one."""
        return self._shared(f"number_{np.float32(value)!s}", np.asarray(value, dtype=np.float32))

    def _shared(self, name: str, value: Array) -> str:
        if name not in self.constants:
            self._taken.add(name)
            self.constants[name] = numpy_helper.from_array(value, name)
        return name


def typed(name: str, shape: Sequence[int | str | None] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """What a graph takes or gives: sizes that are known, named or open."""
    return helper.make_tensor_value_info(name, kind, shape)
