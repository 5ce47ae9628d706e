from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime import together


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind that went through all scenarios of tests/runtime/together.py, one of them to its death."""
    folder = tmp_path_factory.mktemp("pair")
    ended = together.start("messages,norms,runs,remembering,dying", folder)
    assert [process.returncode for process in ended] == [0, -9], "\n".join(process.stderr for process in ended)
    return folder
