"""HTML and SVG built from text that is escaped where it enters, so that no name can become markup."""

from __future__ import annotations

import html
import json
from typing import Any

from idsnn_convert.cli import printable

PLAIN = ("meta", "link", "input", "br", "img")
VOID = (*PLAIN, "rect", "path", "line")
"""Elements that have no content here: those of HTML, and of SVG too."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """``<name attributes>content</name>``: content that is no :class:`Markup` is escaped; of None nothing is written.

    ``class_`` stands for ``class``, ``data_status`` for ``data-status``; an attribute that is True has no value.
    """
    told = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{told}>" if name in PLAIN else f"<{name}{told}/>")
    return Markup(f"<{name}{told}>{joined(*content)}</{name}>")


def joined(*content: object) -> Markup:
    """The pieces one after the other; lists among them are pieces too."""
    return Markup("".join(_piece(part) for part in content))


def data(value: Any, identifier: str) -> Markup:
    """JSON-native ``value`` for a script to read, control characters in its text visible; nothing in it ends the element."""
    text = json.dumps(_visible(value), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(identifier)}">{text}</script>')


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_visible(key): _visible(item) for key, item in value.items()}
    return [_visible(item) for item in value] if isinstance(value, list | tuple) else value


def _piece(part: object) -> str:
    if part is None:
        return ""
    if isinstance(part, Markup):
        return part
    if isinstance(part, list | tuple):
        return joined(*part)
    return html.escape(printable(str(part)))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(printable(str(value)))}"'
