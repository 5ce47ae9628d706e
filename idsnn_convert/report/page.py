"""The shell of every page: one file that needs no other, asks nothing of the network and runs its own script alone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from idsnn_convert import __version__
from idsnn_convert.report.markup import Markup, joined, tag

ASSETS = Path(__file__).parent / "assets"

GENERATOR = "idsnn-convert"


def page(title: str, *body: object, styles: tuple[str, ...] = (), scripts: tuple[str, ...] = ()) -> str:
    """An HTML document.

    Args:
        body: its content; what is no :class:`~idsnn_convert.report.markup.Markup` is escaped.
        styles, scripts: names of files in ``assets``, after ``page.css``.
    """
    style = "\n".join(_asset(name) for name in ("page.css", *styles))
    script = "\n".join(_asset(name) for name in scripts)
    allowed = f"style-src {_hash(style)}; script-src {_hash(script)}" if script else f"style-src {_hash(style)}"
    policy = f"default-src 'none'; {allowed}; img-src data:; base-uri 'none'; form-action 'none'"
    head = joined(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"{GENERATOR} {__version__}"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        Markup(f"<style>{style}</style>"),
    )
    end = Markup(f"<script>{script}</script>") if script else None
    return f"<!DOCTYPE html>\n{tag('html', tag('head', head), tag('body', *body, end), lang='en')}\n"


def section(title: str, *content: object, **attributes: object) -> Markup:
    """A part of the page under a heading."""
    return tag("section", tag("h2", title), *content, **attributes)


def scrolled(label: str, table: Markup) -> Markup:
    """A table that scrolls by itself where it is too long or too wide, by keyboard too."""
    return tag("div", table, class_="scrolled card", role="region", aria_label=label, tabindex=0)


def tabled(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> Markup:
    """A table; ``numbers``: so many columns behind the first stand on the right."""

    def side(i: int) -> str | None:
        return "number" if 1 <= i <= numbers else None

    head = tag("tr", [tag("th", title, scope="col", class_=side(i)) for i, title in enumerate(titles)])
    body = [
        tag("tr", tag("th", row[0], scope="row"), [tag("td", cell, class_=side(i)) for i, cell in enumerate(row[1:], 1)])
        for row in rows
    ]
    return tag("table", tag("thead", head), tag("tbody", body))


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
