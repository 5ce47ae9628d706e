from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from idsnn_convert.runtime import kernels
from tests.runtime import together


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind that went through all scenarios of tests/runtime/together.py, one of them to its death."""
    folder = tmp_path_factory.mktemp("pair")
    ended = together.start("messages,norms,runs,remembering,dying", folder)
    assert [process.returncode for process in ended] == [0, -9], "\n".join(process.stderr for process in ended)
    return folder


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What would be compiled runs as the plain functions it is made of: slow to run, quick to make."""
    monkeypatch.setattr(kernels, "_compiled", lambda function: function)
    kernels.kernels.cache_clear()
    yield
    kernels.kernels.cache_clear()
