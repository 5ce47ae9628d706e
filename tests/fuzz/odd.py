"""Odd values, and how plain structures are mutated: bytes, JSON, TOML. Everything draws from the given generator alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
Bytes = Callable[[Random, bytes], bytes]
"""A mutator of what a file or a record holds."""

NAMES = (
    "",
    "../../x",
    "/etc/passwd",
    "a/../../b",
    "..\\x",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\r\x08\x9b2J",
    "<script>document.title=1</script>",
    '"><img src=x onerror=alert(1)>',
    "{0.__class__}%s%n$(touch x)`touch x`",
    "; import os; os.mkdir('ran')",
    "\u202egnp.exe\u2066",
    "nul\0inside",
    "line\nbreak\ttab",
    "__class__",
    "forward",
    "lambda",
    "a" * 5000,
    "layer1." * 3000 + "weight",
    "\ud800",
    "é\u0301字😀",
    "layer1.0.conv1.weight",
    "__import__('os').mkdir('ran')",
    "[bold red]markup[/]",
)
"""Text where a name is expected."""

NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    255,
    256,
    65535,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32,
    2**40,
    2**53 + 1,
    2**63 - 1,
    2**63,
    10**40,
    10**400,
)
FLOATS = (0.0, -0.0, 1e-320, 1e308, -1e308, 0.1, 1.5)
WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
DEEP = (50, 900, 20_000)


def text_of(rng: Random) -> str:
    return rng.choice(NAMES)


def bytes_changed(rng: Random, data: bytes) -> bytes:
    """One to four changes at places of their own: bits, runs, machine words, the end."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        _change(rng, made)
    return bytes(made)


def _change(rng: Random, made: bytearray) -> None:
    at = rng.randrange(len(made) + 1)
    run = min(len(made), at + rng.choice((1, 2, 8, 64, 1024)))
    kind = rng.randrange(8)
    if kind == 0 and at < len(made):
        made[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(made):
        made[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x28, 0x5D, 0x7D))
    elif kind == 2:
        made[at:at] = rng.randbytes(rng.choice((1, 3, 16, 300)))
    elif kind == 3:
        del made[at:run]
    elif kind == 4:
        made[at:at] = made[at:run] * rng.choice((1, 2, 50))
    elif kind == 5:
        del made[at:]
    elif kind == 6:
        form = rng.choice(("<H", "<I", "<Q", ">H", ">I", ">Q"))
        word = struct.pack(form, rng.choice(WORDS) & ((1 << 8 * struct.calcsize(form)) - 1))
        made[at : at + len(word)] = word
    else:
        made[at:at] = text_of(rng).encode("utf-8", "surrogatepass")


def odd_value(rng: Random) -> Any:
    """A JSON value such as no writer means."""
    return rng.choice(
        (
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(FLOATS),
            lambda: text_of(rng),
            lambda: rng.choice((None, True, False, [], {}, [[]], {"": None}, [None], ["x", 1])),
            lambda: _nested(rng.choice(DEEP[:2])),
        )
    )()


def _nested(depth: int) -> Any:
    made: Any = []
    for _ in range(depth):
        made = [made]
    return made


def json_changed(rng: Random, data: bytes) -> bytes:
    """The document with one to three of its values changed; or, one time in five, changed as bytes or nested too deeply."""
    if rng.random() < 0.2:
        depth = rng.choice(DEEP)
        return bytes_changed(rng, data) if rng.random() < 0.7 else b"[" * depth + b"]" * depth
    try:
        value = json.loads(data)
    except ValueError:
        return bytes_changed(rng, data)
    for _ in range(rng.randint(1, 3)):
        value = value_changed(rng, value)
    return json.dumps(value).encode()


def value_changed(rng: Random, value: Any) -> Any:
    """``value`` with one value in it replaced, left out, doubled or renamed, wherever it stands."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return _other(rng, value)
    keys: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    made: Any = value.copy()
    kind = rng.random()
    if kind < 0.75:
        made[key] = value_changed(rng, value[key])
    elif kind < 0.83:
        del made[key]
    elif isinstance(made, list):
        made.insert(rng.randrange(len(made) + 1), value[key])
    else:
        made[rng.choice((*keys, text_of(rng)))] = value[key]
    return made


def _other(rng: Random, value: Any) -> Any:
    if isinstance(value, bool) or rng.random() < 0.4:
        return odd_value(rng)
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, value * 2, value << 32, value / 3, rng.choice(NUMBERS)))
    if isinstance(value, float):
        return rng.choice((-value, value * 1e300, 0.0, int(value), rng.choice(FLOATS)))
    if isinstance(value, str):
        return rng.choice((text_of(rng), value + text_of(rng), value.upper(), value[:-1]))
    return odd_value(rng)


TOML = (
    "0", "-1", "9" * 400, "1e400", "nan", "-inf", '""', '"\\u001b[31m"', "'<b>'", "true", "[]", "[[]]", "{}", "{a=1}",
    "1979-05-27T07:32:00Z", "[1, 2, 3]", "[1.5]", '["a"]', "99999999", "0x7fffffffffffffff", '"../../x"', "[" * 300 + "]" * 300,
    "[" * 5000 + "]" * 5000, '"' + "a" * 5000 + '"', "[1, 1, 1, 1]", "[1000, 1000]", "3", "0.5",
)  # fmt: skip
"""What a TOML file may say where something else was meant."""


def toml_changed(rng: Random, data: bytes) -> bytes:
    """The file with one to three of its lines changed, or changed as bytes."""
    if rng.random() < 0.15:
        return bytes_changed(rng, data)
    lines = data.decode().splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        key, equals, value = lines[at].partition("=")
        kind = rng.randrange(6)
        if kind <= 2 and equals:
            lines[at] = f"{key}= {rng.choice(TOML)}"
        elif kind == 3:
            lines.insert(rng.randrange(len(lines) + 1), rng.choice((lines[at], f"[{key.strip(' []')}]", f'"x" = {value or 1}')))
        elif kind == 4:
            name = json.dumps(text_of(rng), ensure_ascii=False).replace("\ud800", "?")
            lines[at] = f"{name} = {value or rng.choice(TOML)}"
        else:
            lines[at] = rng.choice(("", "[[a]]", f"{'a.' * rng.choice(DEEP)}b = 1", f"{lines[at]} {lines[at]}"))
    return "\n".join(lines).encode("utf-8", "replace")


def some_of(*mutators: tuple[float, Bytes]) -> Bytes:
    """One of them, as often as its number says."""

    def change(rng: Random, data: bytes) -> bytes:
        return rng.choices([one for _, one in mutators], [weight for weight, _ in mutators])[0](rng, data)

    return change
