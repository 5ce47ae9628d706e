"""Where data sets are published, and what is fetched from there when a set is not on disk."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from idsnn_convert.runtime.data.download import Remote, Watch, fetch
from idsnn_convert.runtime.data.unpack import unpack
from idsnn_convert.runtime.errors import UserError


@dataclass(frozen=True)
class Published:
    """A data set at its publisher's.

    Attributes:
        files: plain files, or one archive.
        there: paths below the data set's folder of which one is there exactly if the set is.
        unpacked: most bytes of the archive's content; 0 for plain files.
    """

    files: tuple[Remote, ...]
    there: tuple[str, ...]
    unpacked: int = 0


_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

PUBLISHED: dict[str, Published] = {
    # https://www.cs.toronto.edu/~kriz/cifar.html
    "cifar10": Published(
        (Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),),
        ("cifar-10-batches-bin", "data_batch_1.bin", "cifar-10-batches-py", "data_batch_1"),
        unpacked=200_000_000,
    ),
    "cifar100": Published(
        (Remote("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),),
        ("cifar-100-binary", "train.bin", "cifar-100-python", "train"),
        unpacked=200_000_000,
    ),
    # https://github.com/zalandoresearch/fashion-mnist
    "fashion-mnist": Published(
        (
            Remote(f"{_FASHION}/train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            Remote(f"{_FASHION}/train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            Remote(f"{_FASHION}/t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            Remote(f"{_FASHION}/t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        ("fashion-mnist", "train-images-idx3-ubyte"),
    ),
    # http://cs231n.stanford.edu; what it unpacks to is bounded, not known to the byte.
    "tiny-imagenet": Published(
        (Remote("http://cs231n.stanford.edu/tiny-imagenet-200.zip", 248_100_043, "90528d7ca1a48142e341f4ef8d21d0de"),),
        ("tiny-imagenet-200", "train"),
        unpacked=1_000_000_000,
    ),
}


def ensure(name: str, folder: Path, watch: Watch, told: Callable[[str], None]) -> None:
    """Fetches the data set ``name`` into ``folder`` unless it is there. Other processes that want it too wait.

    Args:
        watch: told of the bytes of each file that is fetched.
        told: receives a line before each.

    Raises:
        UserError: if it has no publisher, or cannot be fetched and unpacked; see :func:`fetch` and :func:`unpack`.
    """
    if name not in PUBLISHED:
        hint = f"Leave out --download. Published are {', '.join(PUBLISHED)}."
        raise UserError(f"{name} is nobody's published data set", hint=hint)
    published = PUBLISHED[name]
    if any((folder / path).exists() for path in published.there):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".download.lock").open("w")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if any((folder / path).exists() for path in published.there):  # another process was faster
            return
        for remote in published.files:
            if not (folder / remote.name).exists():
                told(f"fetching {remote.url} ({remote.size:,} bytes)")
                fetch(remote, folder / remote.name, watch)
            if published.unpacked:
                unpack(folder / remote.name, folder, published.unpacked)
                (folder / remote.name).unlink()
