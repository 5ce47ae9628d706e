"""Docstrings as they are written here, for autodoc and napoleon: of variables, of several names at once, short references."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from sphinx.application import Sphinx

COLON = "\ue000"  # of the private use area, so in no docstring


def hide_colons(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Before napoleon, which would take a variable's docstring up to its first colon, and so what a function returns, for a
    type."""
    first = 0 if what in ("data", "attribute", "property") else len(lines)
    if "Returns:" in lines:
        first = lines.index("Returns:") + 1
    for at in range(first, len(lines)):
        if not lines[at].strip() and first:
            break
        lines[at] = lines[at].replace(":", COLON)


def mend_fields(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """After napoleon: the colons again, and ``:param a, b:`` as the names they are and not as a type and a name."""
    for at, line in enumerate(lines):
        field = re.match(r":(param|ivar|var) [\w, ]+:", line)
        lines[at] = line.replace(COLON, ":") if not field else field[0].replace(", ", ",") + line[field.end() :]


def in_our_code(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolves names as Python would where they were written: imported ones, and what has no docstring of its own.

    A name that is nowhere in the code stays unresolved, which fails the build.
    """
    if node.get("refdomain") != "py":
        return None
    if not node.source:  # of an annotation, not written by hand: a name of another library
        return contnode
    target, module, owner = node["reftarget"], node.get("py:module") or "", node.get("py:class") or ""
    places = [module, f"{module}.{owner}"]
    if docstring := re.search(r"docstring of ([\w.]+)", node.source):  # also where another module hands it on
        parts = docstring[1].split(".")
        places += [".".join(parts[:cut]) for cut in range(len(parts), 1, -1)]
    for written in (target, *(f"{place}.{target}" for place in places)):
        if found := located(written):
            domain = env.get_domain("py")
            linked = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found, node, contnode)
            return linked or contnode
    return None


def located(name: str) -> str:
    """Where what goes by a dotted name was defined; empty if there is nothing of ours by that name."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        place = ".".join(parts[:cut])
        if place.partition(".")[0] != "idsnn_convert":
            return ""
        try:
            found: Any = import_module(place)
        except ImportError:
            continue
        for part in parts[cut:]:
            if part in getattr(found, "__annotations__", {}) and not hasattr(found, part):
                return name
            if not hasattr(found, part):
                return ""
            found = getattr(found, part)
        home, own = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
        return f"{home}.{own}" if home and own else name
    return ""


def skip(app: Any, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leaves out the fields of named tuples, whose docstrings Python makes up."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", mend_fields, priority=600)
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", in_our_code)
    return {"parallel_read_safe": True}
