"""The tree of an HDF5 file, held against bounds before a number in it is read.

HDF5 can keep an array in other files, make one of files that do not exist, declare one of any size that takes no bytes,
pack zeros a thousandfold, link a group into itself, and ask for libraries that unpack. A NIR file needs none of that but
packing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from idsnn_convert.runtime.errors import UserError

MOST_PLACES = 100_000
"""Groups and arrays that a file may have."""

DEEPEST = 16
"""Groups within groups."""

SLACK = 256 << 20
"""Bytes that the arrays may take when unpacked, besides twice those of the file."""

MOST_TEXTS = 50_000
"""Texts that an array may have; they are where an edge begins and ends."""

LONGEST_TEXTS = 64 << 20

FILTERS = {1, 2, 3, 32000}
"""How arrays may be packed: deflate, shuffled, with a checksum, LZF. All come with the library."""


def check_tree(path: Path) -> None:
    """Looks at every link and every array's shape.

    Raises:
        UserError: at the first that a NIR file has no use for.
        OSError, RuntimeError, ValueError, KeyError: if the file is damaged.
    """
    left = 2 * path.stat().st_size + SLACK
    with h5py.File(path, "r") as file:
        if "node" not in file:
            told = "it is an HDF5 file, such as Keras writes, but no NIR graph"
            raise UserError(told, hint="Of HDF5 files NIR graphs alone are read.")
        pending: list[tuple[Any, str, int]] = [(file, "", 0)]
        seen: set[Any] = {h5py.h5o.get_info(file.id).addr}
        while pending:
            group, place, depth = pending.pop()
            if depth > DEEPEST:
                raise UserError(f"its groups lie more than {DEEPEST} deep one in another")
            for name in group:
                where = f"{place}/{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise UserError(f"{where!r:.200} is a link to somewhere else; nothing was read from there")
                inner = group[name]
                address = h5py.h5o.get_info(inner.id).addr
                if address in seen:
                    raise UserError(f"{where!r:.200} stands in another place too")
                seen.add(address)
                if len(seen) > MOST_PLACES:
                    raise UserError(f"it has more than {MOST_PLACES:,} groups and arrays")
                if isinstance(inner, h5py.Group):
                    pending.append((inner, where, depth + 1))
                elif isinstance(inner, h5py.Dataset):
                    left -= _bytes(inner, where)
                if left < 0:
                    raise UserError(f"its arrays unpack to more than {2 * path.stat().st_size + SLACK:,} bytes")


def _bytes(array: Any, where: str) -> int:
    """How many bytes it takes in memory."""
    if array.external or array.is_virtual:
        raise UserError(f"the array {where!r:.200} is kept in other files; none of them was opened")
    packing = array.id.get_create_plist()
    if foreign := {packing.get_filter(k)[0] for k in range(packing.get_nfilters())} - FILTERS:
        raise UserError(f"the array {where!r:.200} is packed in a way (filter {min(foreign)}) that needs a library of its own")
    if array.dtype.kind != "O" or array.size is None:
        return int(array.nbytes) if array.size is not None else 0
    if array.size > MOST_TEXTS:
        raise UserError(f"the array {where!r:.200} holds {array.size:,} texts; at most {MOST_TEXTS:,} are read")
    taken = 0
    for row in _rows(array):
        taken += sum(len(text) if isinstance(text, bytes | str) else 64 for text in row)
        if taken > LONGEST_TEXTS:
            raise UserError(f"the texts of {where!r:.200} are longer than {LONGEST_TEXTS:,} bytes")
    return taken


def _rows(array: Any) -> Any:
    """Its texts, a few at a time: one that is stored once may stand in every place."""
    if not array.shape:
        yield [array[()]]
        return
    for k in range(array.shape[0]):
        yield array[k].reshape(-1).tolist() if array.ndim > 1 else [array[k]]
