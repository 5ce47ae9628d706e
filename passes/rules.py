"""The rules that pair a short row of stages or blocks with a long one.

A rule is a function ``(n_target, n_source) -> one source index for each target index``. To add one, add its function and its
row in :data:`RULES`.
"""

from __future__ import annotations

from collections.abc import Callable

Rule = Callable[[int, int], tuple[int, ...]]


def relative(n_target: int, n_source: int) -> tuple[int, ...]:
    """Each target takes the source at its own relative place: index floor((j + 1/2) n_source / n_target).

    IDSNN section 3.2.2: blocks keep their relative position. Equal counts pair one to one; a shorter target
    skips sources evenly, a longer one repeats them evenly.
    """
    return tuple((2 * j + 1) * n_source // (2 * n_target) for j in range(n_target))


def prefix(n_target: int, n_source: int) -> tuple[int, ...]:
    """Target j takes source min(j, n_source - 1), as the IDSNN authors' code does."""
    return tuple(min(j, n_source - 1) for j in range(n_target))


def spread(n_target: int, n_source: int) -> tuple[int, ...]:
    """The targets spread over the sources end to end: index round(j (n_source - 1) / (n_target - 1)), halves up.

    The first takes the first and the last the last; a single target takes the first.
    """
    steps = max(1, n_target - 1)
    return tuple((2 * j * (n_source - 1) + steps) // (2 * steps) for j in range(n_target))


RULES: dict[str, Rule] = {"relative": relative, "prefix": prefix, "spread": spread}
"""The name of a rule, as ``--match`` takes it -> the rule."""
