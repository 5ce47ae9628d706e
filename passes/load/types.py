"""What :func:`idsnn_convert.passes.load.load_teacher` is told, and hands to the loader of a form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trust:
    """What the owner of a torch.save file vouches for; nothing by default.

    Attributes:
        names: dotted names of what the file may call besides tensors and containers.
        everything: it may call anything at all.
    """

    names: tuple[str, ...] = ()
    everything: bool = False

    @property
    def told(self) -> tuple[str, ...]:
        """The options that say it, for the record."""
        return (*(f"--allow-global {name}" for name in self.names), *(("--unsafe-pickle",) if self.everything else ()))


NOTHING = Trust()


@dataclass(frozen=True)
class Request:
    """A file, and what its owner says of it."""

    path: Path
    sha256: str
    arch: str | None
    input_size: int | None
    trust: Trust = NOTHING
