"""Results that print well: in a terminal as their command prints them, in a notebook as tables."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from contextlib import redirect_stdout


class Printed(ABC):
    """What a function of this package gives back. ``str`` is what its command prints; ``repr`` is one line.

    A result tells itself by three methods; what they need to draw is imported when they are called.
    """

    @abstractmethod
    def brief(self) -> str:
        """The result in a few words."""

    @abstractmethod
    def show(self) -> None:
        """Prints the result on stdout, as its command does."""

    @abstractmethod
    def _repr_html_(self) -> str:
        """The result as tables, all text in it escaped, for notebooks."""

    def __repr__(self) -> str:
        from idsnn_convert.cli import printable

        return f"<{type(self).__name__}: {printable(self.brief())}>"

    def __str__(self) -> str:
        with redirect_stdout(io.StringIO()) as told:
            self.show()
        return told.getvalue().rstrip("\n")
