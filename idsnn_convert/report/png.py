"""Small pictures as PNG files, and as what a page shows of them. https://www.w3.org/TR/png-3/"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

KINDS = {1: 0, 3: 2, 4: 6}
"""Channels -> PNG's colour type: grey, colour, colour with opacity."""


def png(rows: Sequence[bytes], channels: int) -> bytes:
    """The file of a picture whose ``rows`` hold ``channels`` bytes a pixel."""
    width = len(rows[0]) // channels
    header = struct.pack(">IIBBBBB", width, len(rows), 8, KINDS[channels], 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    parts = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def as_base64(file: bytes) -> str:
    return base64.b64encode(file).decode()


def source(encoded: str) -> str:
    """The address of a picture that the page itself holds."""
    return f"data:image/png;base64,{encoded}"
