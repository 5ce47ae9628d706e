"""What many tests share: tiny networks, and the real data and teachers where they are to be had."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from idsnn_convert.runtime import kernels
from idsnn_convert.runtime.graph import Graph
from tests import graphs

torch.set_num_threads(1)  # the tensors of tests are small; more threads only wait for each other

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tiny_graph() -> Graph:
    """A residual network with ReLUs: 3x8x8 images, 5 classes."""
    return graphs.ann()


@pytest.fixture
def tiny_spiking_graph() -> Graph:
    """The same with neurons."""
    return graphs.spiking()


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What would be compiled runs as the plain functions it is made of: slow to run, quick to make."""
    monkeypatch.setattr(kernels, "_compiled", lambda function, options: function)
    kernels.kernels.cache_clear()
    yield
    kernels.kernels.cache_clear()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and teachers: $IDSNN_DATA, or shared/data beside the repository."""
    found = Path(os.environ.get("IDSNN_DATA") or ROOT.parent / "shared" / "data")
    if not found.is_dir():
        pytest.skip(f"no folder {found} with real data; name another in $IDSNN_DATA")
    return found


@pytest.fixture(scope="session")
def teachers_dir(shared_data: Path) -> Path:
    """The folder of trained teachers' files."""
    if not (shared_data / "teachers").is_dir():
        pytest.skip(f"no teachers in {shared_data}")
    return shared_data / "teachers"


@pytest.fixture(scope="session")
def cifar10_dir(shared_data: Path) -> Path:
    """CIFAR-10 in its binary layout."""
    return unpacked(shared_data, "cifar10", "cifar-10-batches-bin")


@pytest.fixture(scope="session")
def cifar100_dir(shared_data: Path) -> Path:
    """CIFAR-100 in its binary layout."""
    return unpacked(shared_data, "cifar100", "cifar-100-binary")


def unpacked(shared: Path, name: str, folder: str) -> Path:
    """``folder`` of ``shared`` if it is there, else what unpack.py makes of the packed shards, kept for the next session."""
    if (shared / folder).is_dir():
        return shared / folder
    script, shards = shared / "unpack.py", sorted(shared.glob(f"{name}_*.npz"))
    if not script.is_file() or not shards:
        pytest.skip(f"no {name} in {shared}")
    key = hashlib.sha256()
    for path in (script, *shards):
        key.update(path.read_bytes())
    home = Path(tempfile.gettempdir()) / f"idsnn-convert-tests-{os.getuid()}"
    kept = home / f"{name}-{key.hexdigest()[:16]}"
    if not kept.is_dir():
        home.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as made:
            subprocess.run([sys.executable, str(script), name, f"{made}/out"], check=True, stdout=subprocess.DEVNULL)
            try:
                Path(made, "out").rename(kept)
            except OSError:  # another session was faster
                if not kept.is_dir():
                    raise
    return kept / folder
