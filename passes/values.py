"""What the arguments of a traced call are, and how a call without a canonical form is refused."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from idsnn_convert.runtime.graph import Shape


@dataclass(frozen=True, eq=False)
class Map:
    """A value on its way through the network: which node gives it, and its shape without the batch axis."""

    node: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Param:
    """A parameter or buffer of the traced module and its name there.

    Attributes:
        computed: names of all parameters that ``tensor`` is computed from, where it is not one of them as it stands.
    """

    origin: str
    tensor: Tensor
    computed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the parameter {self.origin!r}"


@dataclass(frozen=True)
class Zeros:
    """A map of zeros that nothing computes; it may only be joined to another."""

    shape: Shape

    def __str__(self) -> str:
        return "a map of zeros"


class Batch:
    """A number that depends on the batch size, which no canonical graph fixes."""

    def __str__(self) -> str:
        return "the batch size"


BATCH = Batch()
"""The batch size itself."""


class UnsupportedError(Exception):
    """A call that has no canonical form: why, and what its author can do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice
