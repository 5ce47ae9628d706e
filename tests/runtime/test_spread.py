from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch

from idsnn_convert.runtime import spread as module
from idsnn_convert.runtime.spread import spread


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)  # the machine's own stays
    monkeypatch.setattr(module, "_pool", module._pool.__wrapped__)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_every_piece_is_done_once(count: int) -> None:
    done: list[int] = []
    names: set[str] = set()

    def work(pieces: Sequence[int]) -> None:
        done.extend(pieces)
        names.add(threading.current_thread().name)

    spread(work, range(count))
    assert sorted(done) == list(range(count))
    assert any(name.startswith("idsnn") for name in names) == (count > 1)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("inference", [False, True])
def test_threads_are_in_the_callers_mode_and_without_gradients(inference: bool) -> None:
    modes: list[tuple[bool, bool]] = []
    with torch.inference_mode(inference):
        spread(lambda pieces: modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled())), range(3))
    assert modes == [(inference, False)] * 3


@pytest.mark.usefixtures("three_threads")
def test_what_goes_wrong_is_told() -> None:
    def work(pieces: Sequence[int]) -> None:
        raise ArithmeticError(f"in {pieces[0]}")

    with pytest.raises(ArithmeticError, match="in 0"):
        spread(work, range(3))


def test_the_number_of_threads_stays_as_it_was() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        inside: list[int] = []
        spread(lambda pieces: inside.append(torch.get_num_threads()), range(4))
        assert inside == [1, 1]
        assert torch.get_num_threads() == 2
        fresh: list[int] = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [2]
    finally:
        torch.set_num_threads(before)
