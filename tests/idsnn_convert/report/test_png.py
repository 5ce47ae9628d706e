from __future__ import annotations

import zlib

import pytest
import torch

from idsnn_convert.report.png import as_base64, png, source

PIXELS = torch.randint(0, 256, (5, 4, 4), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_pixels_come_back(channels: int) -> None:
    image = PIXELS[:, :, :channels]
    written = png([bytes(row) for row in image.flatten(1).tolist()], channels)
    assert written.startswith(b"\x89PNG\r\n\x1a\n")
    assert written[16:24] == (4).to_bytes(4, "big") + (5).to_bytes(4, "big")  # width, height
    start = written.index(b"IDAT") + 4
    size = int.from_bytes(written[start - 8 : start - 4], "big")
    rows = torch.frombuffer(bytearray(zlib.decompress(written[start : start + size])), dtype=torch.uint8).view(5, -1)
    assert torch.equal(rows[:, 1:].long().view(5, 4, channels), image)


def test_a_page_holds_it() -> None:
    assert source(as_base64(b"\0\1")) == "data:image/png;base64,AAE="
