"""Names of nodes where dots cannot stand: readers make attributes and variables of them."""

from __future__ import annotations

import keyword
from collections.abc import Collection

from torch import nn

from idsnn_convert.runtime.graph import Graph

ATTRIBUTES = frozenset(dir(nn.Module)) | {"training"}


def flat_names(graph: Graph, taken: Collection[str] = ()) -> dict[str, str]:
    """Name of a node -> one with ``_`` for each dot, unlike any other, a keyword, a module's attribute and ``taken``."""
    found: dict[str, str] = {}
    used = {*taken, *keyword.kwlist, *ATTRIBUTES}
    for node in graph:
        flat = node.name.replace(".", "_")
        flat = f"_{flat}" if flat[0].isdigit() else flat
        while flat in used:
            flat += "_"
        used.add(flat)
        found[node.name] = flat
    return found
