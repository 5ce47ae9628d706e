"""Two processes train as one would, stop together, and one that is lost ends the run where it can go on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from idsnn_convert.runtime import distributed
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.distributed import ALONE, PLACE, joined, leads, own_device
from idsnn_convert.runtime.run_folder import RunFolder
from tests.runtime import together, toy


def test_what_they_tell_each_other(pair: Path) -> None:
    for rank in range(2):
        found = {name: tensor.tolist() for name, tensor in torch.load(pair / f"messages{rank}.pt").items()}
        assert found["total"] == [2, 1]
        assert found["largest"] == [1, 0]
        assert found["gathered"] == [[0], [1]]
        assert found["added"] == [1] * 4 + [2] * 3
        assert found["share"] == toy.SPLITS["test"].labels[rank::2].tolist()


def test_alone_all_comes_straight_back() -> None:
    tensor = torch.ones(2)
    assert ALONE.total(tensor) is tensor
    assert ALONE.gathered(tensor) == [tensor]
    assert ALONE.largest(3, -1) == [3, -1]
    assert ALONE.share(toy.SPLITS["test"]) is toy.SPLITS["test"]
    ALONE.add_up([tensor])
    assert tensor.tolist() == [1, 1]
    with joined(torch.device("cpu")) as world:
        assert world is ALONE


def test_two_processes_learn_what_one_learns(pair: Path, tmp_path: Path) -> None:
    """At equal batch size, after 8 steps: weights to 1e-4, losses to 1e-3; a rounding can turn a spike."""
    toy.run(tmp_path / "one", together.SETTINGS)
    start = toy.network().tensors()
    for file in ("last.safetensors", "last_ema.safetensors"):
        one, two = (read(folder / file).tensors for folder in (tmp_path / "one", pair / "two"))
        for name, tensor in one.items():
            assert torch.allclose(two[name], tensor, rtol=1e-3, atol=1e-4), name
        assert not torch.allclose(start["conv1.weight"], one["conv1.weight"], atol=1e-3)
    for alone, together_ in zip(toy.metrics(tmp_path / "one"), toy.metrics(pair / "two"), strict=True):
        assert together_["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-3)


def test_a_signal_to_one_stops_both_and_they_go_on_bit_for_bit(pair: Path) -> None:
    assert [(pair / f"interrupted{rank}").read_text() for rank in range(2)] == ["143", "143"]
    toy.assert_same_run(pair / "stopped", pair / "two")
    states = [RunFolder(pair / name).read_state()[0] for name in ("stopped", "two")]
    assert toy.same_tensors(*states)
    assert {"random.cpu.0", "random.cpu.1"} <= states[0].keys()


def test_each_process_finds_its_share_of_a_teachers_logits(pair: Path) -> None:
    asked = {name: [int((pair / f"{name}{rank}").read_text()) for rank in range(2)] for name in ("cold", "warm")}
    assert asked == {"cold": [2 * toy.BATCHES] * 2, "warm": [0, 0]}
    toy.assert_same_run(pair / "warm", pair / "cold")
    found = {name: [line["teacher_cached_percent"] for line in toy.metrics(pair / name)] for name in asked}
    assert found == {"cold": [0, 0], "warm": [100, 100]}


def test_a_lost_process_ends_the_run_where_another_number_can_go_on(pair: Path) -> None:
    problem, hint = (pair / "told").read_text().splitlines()
    assert problem.startswith("process 0 of 2 lost another one: ")
    assert problem.endswith(", after batch 1 of epoch 2")
    assert f"--resume goes on from {pair / 'dying' / 'state.safetensors'}, written 0 minutes ago" in hint
    assert RunFolder(pair / "dying").read_state()[1]["position"]["epoch"] == 1
    result = toy.run(pair / "dying", ["run.epochs=2"], resume=True)  # by one process
    assert result.epochs == 2
    assert [line["processes"] for line in toy.metrics(pair / "dying")] == [2, 1]


def test_the_place_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leads()
    assert own_device(torch.device("cuda")) == torch.device("cuda")
    for name in PLACE:
        monkeypatch.setenv(name, "1")
    assert not leads()
    assert own_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert own_device(torch.device("cuda:0")) == torch.device("cuda:0")
    assert own_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.delenv("MASTER_ADDR")
    assert not distributed.started_together()
