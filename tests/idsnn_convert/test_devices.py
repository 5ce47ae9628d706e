from __future__ import annotations

import pytest
import torch

from idsnn_convert.devices import device_named
from idsnn_convert.runtime.errors import UserError


def test_a_device_by_its_name() -> None:
    assert device_named("cpu") == torch.device("cpu")
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"device '{name}' cannot be used[\s\S]*--device"):
        device_named(name)
