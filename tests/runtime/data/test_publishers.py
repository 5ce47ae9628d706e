from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idsnn_convert.runtime.data import DATASETS, SOURCES, Reading, open_dataset, publishers
from idsnn_convert.runtime.data.download import Remote
from idsnn_convert.runtime.data.publishers import PUBLISHED, Published, ensure
from idsnn_convert.runtime.errors import UserError
from tests.runtime.data.test_fashion_mnist import IMAGES, LABELS
from tests.runtime.data.test_unpack import packed

ROWS = np.random.default_rng(0).integers(0, 10, (20, 3073), dtype=np.uint8).tobytes()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Address -> content of all the files there are, which the publishers' table then describes."""
    batches = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    archive = packed(tmp_path / "c.tar.gz", {f"cifar-10-batches-bin/{name}": ROWS for name in batches})
    found = {"http://x/cifar-10-binary.tar.gz": archive.read_bytes()}
    for part in ("train", "t10k"):
        found[f"http://x/{part}-images-idx3-ubyte.gz"] = gzip.compress(IMAGES)
        found[f"http://x/{part}-labels-idx1-ubyte.gz"] = gzip.compress(LABELS)
    remotes = [Remote(url, len(raw), hashlib.md5(raw, usedforsecurity=False).hexdigest()) for url, raw in found.items()]
    table = {
        "cifar10": Published(tuple(remotes[:1]), PUBLISHED["cifar10"].there, 500_000),
        "fashion-mnist": Published(tuple(remotes[1:]), PUBLISHED["fashion-mnist"].there),
    }
    monkeypatch.setattr(publishers, "PUBLISHED", table)
    monkeypatch.setattr(publishers, "fetch", lambda remote, place, watch: place.write_bytes(found.pop(remote.url)))
    return found


def test_an_archive_is_fetched_unpacked_and_removed_once(tmp_path: Path, web: dict[str, bytes]) -> None:
    told: list[str] = []
    reading = Reading(download=True, told=told.append)
    dataset = open_dataset(f"cifar10:{tmp_path / 'new' / 'data'}", reading)
    assert len(dataset.train) == 100
    assert len(dataset.test) == 20
    assert sorted(path.name for path in dataset.root.iterdir()) == [".download.lock", "cifar-10-batches-bin"]
    assert [line.split(" (")[0] for line in told] == ["fetching http://x/cifar-10-binary.tar.gz"]
    assert len(open_dataset(f"cifar10:{dataset.root}", reading).test) == 20
    assert len(open_dataset(f"cifar10:{dataset.root / 'cifar-10-batches-bin'}", reading).test) == 20
    assert len(told) == 1


def test_plain_files_are_fetched_where_they_are_missing(tmp_path: Path, web: dict[str, bytes]) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(IMAGES))
    told: list[str] = []
    dataset = open_dataset(f"fashion-mnist:{tmp_path}", Reading(download=True, told=told.append))
    assert len(dataset.train) == len(dataset.test) == 3
    assert len(told) == 3


def test_what_nobody_publishes_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder is nobody's published data set\nLeave out --download"):
        open_dataset(f"folder:{tmp_path}", Reading(download=True))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nothing: Any = lambda *_: None  # noqa: E731
    with pytest.raises(UserError, match="cannot write to"):
        ensure("cifar10", tmp_path / "file" / "data", nothing, nothing)


def test_the_table_names_sets_files_and_sums() -> None:
    assert set(PUBLISHED) <= {*DATASETS, *SOURCES}
    for published in PUBLISHED.values():
        for remote in published.files:
            assert re.fullmatch(r"https?://\S+\.(gz|zip)", remote.url)
            assert re.fullmatch("[0-9a-f]{32}", remote.md5)
            assert remote.size > 5000
        assert bool(published.unpacked) == (len(published.files) == 1)
