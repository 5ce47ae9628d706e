"""Finds the state dict in what a training script saved, and the tensors' plain names in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from idsnn_convert.runtime.errors import UserError

NESTS: tuple[str, ...] = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state",
    "model_state_dict",
    "model",
    "net",
    "network",
    "teacher",
    "weights",
    "params",
)
"""Keys under which training scripts keep the weights. Averaged weights come first: they are what was evaluated."""

WRAPPERS: tuple[str, ...] = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "teacher.")
"""Prefixes that wrappers (DataParallel, torch.compile, Lightning, ...) put before every name, or before all but the head's."""

DEEPEST = 8
MOST_TENSORS = 20_000
"""Tensors that a state dict may have; those of a ResNet of 1,202 layers are 7,000."""

LONGEST_NAME = 1000
"""Characters that a tensor's name may have."""


@dataclass(frozen=True)
class State:
    """A state dict, found and made plain.

    Attributes:
        tensors: plain name -> tensor, as stored.
        keys: plain name -> its key in the innermost dict of the file.
        unread: keys of that dict that hold no tensor, each with the reason.
        notes: what was chosen on the way, one sentence each.
    """

    tensors: Mapping[str, Tensor]
    keys: Mapping[str, str]
    unread: Mapping[str, str]
    notes: tuple[str, ...]


def find_state(content: Any) -> State:
    """The state dict in ``content``: unwrapped, its names plain.

    Raises:
        UserError: if there is none, saying what is there instead.
    """
    found, notes = _unwrap(content, depth=0)
    names = [key for key, value in found.items() if isinstance(value, Tensor)]
    if len(names) > MOST_TENSORS:
        raise UserError(f"it holds {len(names):,} tensors; at most {MOST_TENSORS:,} are read")
    if longest := next((key for key in found if len(key) > LONGEST_NAME), None):
        raise UserError(f"{longest[:60]!r}... is a name of {len(longest):,} characters; at most {LONGEST_NAME:,} are read")
    keys = plain_names(names)
    tensors = {name: found[key] for name, key in keys.items()}
    unread = {key: f"no tensor but {_a(value)}" for key, value in found.items() if not isinstance(value, Tensor)}
    return State(tensors, keys, unread, notes)


def _unwrap(content: Any, depth: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    if not isinstance(content, Mapping) or depth > DEEPEST:
        raise UserError(f"it holds {_a(content)}, not a dict of tensors", hint="Give a state dict: name -> tensor.")
    nested = {key: value for key, value in content.items() if isinstance(value, Mapping) and _holds_tensors(value)}
    known = [key for key in NESTS if key in nested]
    plain = any(isinstance(value, Tensor) and "." in str(key) for key, value in content.items())
    if known and not plain:
        inner, notes = _unwrap(nested[known[0]], depth + 1)
        if len(known) > 1:
            told = f"The file holds weights under {' and '.join(map(repr, known))}; those under {known[0]!r} were read."
            notes = (told, *notes)
        return inner, notes
    if any(isinstance(value, Tensor) for value in content.values()):
        return {str(key): value for key, value in content.items()}, ()
    if len(nested) == 1:
        return _unwrap(next(iter(nested.values())), depth + 1)
    keys = ", ".join(f"{key} ({_a(value)})" for key, value in list(content.items())[:8])
    raise UserError(
        f"no weights were found in it; its keys are {keys or 'none'}",
        hint=f"Weights are looked for under {', '.join(NESTS)}. Save the state dict alone to make it plain.",
    )


def _holds_tensors(value: Mapping[Any, Any]) -> bool:
    """Whether names lead to tensors in it; an optimiser's state leads to them by numbers. Looks into each dict once."""
    level, seen = {id(value): value}, set[int]()
    for _ in range(DEEPEST + 1):
        items = [item for each in level.values() for key, item in each.items() if isinstance(key, str)]
        if any(isinstance(item, Tensor) for item in items):
            return True
        seen |= level.keys()
        level = {id(item): item for item in items if isinstance(item, Mapping) and id(item) not in seen}
    return False


def plain_names(keys: list[str]) -> dict[str, str]:
    """Plain name -> key. A wrapper's prefix is stripped where it stands, as often as it stands in front."""
    plain = {key: key for key in keys}
    while True:
        before = plain
        for prefix in WRAPPERS:
            shorter = {name.removeprefix(prefix): key for name, key in plain.items()}
            if len(shorter) == len(plain):  # else two names would become one
                plain = shorter
        first = {name.partition(".")[0] for name in plain}
        if len(first) == 1 and len(plain) > 1 and all(name.count(".") > 1 for name in plain):
            plain = {name.partition(".")[2]: key for name, key in plain.items()}
        if plain == before:
            return plain


def _a(value: Any) -> str:
    """What a value is, in words: ``a dict of 3``."""
    if isinstance(value, Mapping):
        return f"a dict of {len(value)}"
    kind = "tensor" if isinstance(value, Tensor) else type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
