"""What an export compares before its file is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One comparison.

    Attributes:
        found: what it gave, one sentence for people; ``measured``: the numbers in it, for programs.
    """

    name: str
    found: str
    passed: bool
    measured: Mapping[str, Any] = field(default_factory=dict)
