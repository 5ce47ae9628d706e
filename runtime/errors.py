"""The one exception a user's mistake raises."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's, told in one message: what is wrong with which value, and the way out.

    The command line prints it to stderr and exits with code 2; nothing is half-written when it is raised.
    """

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        super().__init__(problem if hint is None else f"{problem}\n{hint}")
        self.problem = problem
        self.hint = hint
