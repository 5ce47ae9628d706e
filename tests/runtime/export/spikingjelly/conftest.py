from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.runtime import jelly


@pytest.fixture(params=["stand-in", "itself"], autouse=True)
def spikingjelly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """SpikingJelly, and what stands for it where it is not installed; which of the two."""
    if request.param == "stand-in":
        for name, module in jelly.stand_ins().items():
            monkeypatch.setitem(sys.modules, name, module)
    elif importlib.util.find_spec("spikingjelly") is None:
        pytest.skip("SpikingJelly is not installed")
    return str(request.param)
