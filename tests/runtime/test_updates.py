"""From losses to weights: parts of a batch, precision, and what a stopped run must remember."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.updates import Updates, micro_batches
from tests.runtime import toy
from tests.runtime.toy import At, Killed, assert_same_run, killed


def without_norms() -> SpikingNetwork:
    graph, tensors = fold(toy.GRAPH, fresh_tensors(toy.GRAPH, seed=0))
    return SpikingNetwork(graph, tensors, toy.STEPS)


def no_save(network: Any, path: Path, training: dict[str, Any]) -> None:
    path.touch()


@pytest.mark.parametrize(("count", "sizes"), [(1, [7]), (2, [4, 3]), (3, [3, 2, 2]), (9, [1] * 7)])
def test_parts_of_a_batch(count: int, sizes: list[int]) -> None:
    images, labels = torch.rand(7, 1, 2, 2), torch.arange(7)
    parts = list(micro_batches(images, labels, count))
    assert [len(part) for part, _ in parts] == [len(part) for _, part in parts] == sizes
    assert torch.equal(torch.cat([part for part, _ in parts]), images)
    assert torch.equal(torch.cat([part for _, part in parts]), labels)


def test_parts_make_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    """Without batch norm; weights differ by rounding alone, 1e-5 of their size after 4 steps."""
    once = ["run.epochs=1", "run.batch_size=30"]  # 100 images: the last batch has 10
    networks = without_norms(), without_norms()
    for network, parts in zip(networks, (1, 4), strict=True):
        toy.run(tmp_path / f"{parts}", [*once, f"run.accumulate={parts}"], trained=network, save=no_save)
    before = without_norms().tensors()
    for name, tensor in networks[0].tensors().items():
        assert torch.allclose(tensor, networks[1].tensors()[name], rtol=1e-5, atol=1e-6)
        assert not torch.equal(tensor, before[name])
    one, four = (toy.metrics(tmp_path / f"{parts}")[0] for parts in (1, 4))
    assert one["train_loss"] == pytest.approx(four["train_loss"], rel=1e-6)
    assert one["train_top1_percent"] == four["train_top1_percent"]


EVERYTHING = {
    "adam": ["optimizer.name=adam", "optimizer.lr=0.01", "run.accumulate=2", "run.ema_decay=0.9"],
    "adamw": ["optimizer.name=adamw", "optimizer.lr=0.01", "run.ema_decay=0.5", "run.recalibrate_batches=2"],
    "float16": ["run.precision=float16", "run.accumulate=3", "optimizer.grad_clip=0.5"],
}


@pytest.mark.parametrize("settings", EVERYTHING.values(), ids=EVERYTHING)
def test_a_run_with_it_goes_on_bit_for_bit(tmp_path: Path, settings: list[str]) -> None:
    short = ["run.epochs=2", *settings]
    toy.run(tmp_path / "undisturbed", short)
    with pytest.raises(Killed):
        toy.run(tmp_path / "run", [*short, "run.save_minutes=1e-9"], watcher=At(2, 2, killed))
    toy.run(tmp_path / "run", short, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
    states = [RunFolder(tmp_path / name).read_state()[0] for name in ("run", "undisturbed")]
    assert toy.same_tensors(*states)
    if any("ema" in setting for setting in settings):
        ends = [read(tmp_path / name / "last_ema.safetensors").tensors for name in ("run", "undisturbed")]
        assert toy.same_tensors(*ends)


def test_the_average_is_evaluated_and_saved_beside(tmp_path: Path) -> None:
    result = toy.run(tmp_path / "run", ["run.ema_decay=0.99", "run.epochs=2", "optimizer.lr=0.5"])
    lines = toy.metrics(tmp_path / "run")
    assert result.best_ema_top1 == max(line["ema_test_top1_percent"] for line in lines)
    assert all(line["ema_test_loss"] != line["test_loss"] for line in lines)
    last, average = (read(tmp_path / "run" / name).tensors for name in ("last.safetensors", "last_ema.safetensors"))
    assert not torch.equal(last["conv1.weight"], average["conv1.weight"])
    assert result.best_ema is not None
    assert result.best_ema.is_file()


def test_without_an_average_nothing_is_said_of_it(tmp_path: Path) -> None:
    result = toy.run(tmp_path / "run", ["run.epochs=1"])
    assert (result.best_ema_top1, result.best_ema) == (None, None)
    assert "ema_test_loss" not in toy.metrics(tmp_path / "run")[0]
    assert not list((tmp_path / "run").glob("*ema*"))


def test_float16_trains_and_throws_overflowing_gradients_away(tmp_path: Path) -> None:
    network = toy.network()
    updates = Updates(network, toy.recipe("run.precision=float16"), torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    scale = updates.scaler.get_scale()
    updates.backward(sum(parameter.sum() for parameter in network.parameters()) * 1e38)
    updates.step(0.1, 0)
    assert toy.same_tensors(before, network.state_dict())
    assert updates.scaler.get_scale() == scale / 2
    toy.run(tmp_path / "run", ["run.precision=float16", "run.epochs=2"], trained=network)
    lines = toy.metrics(tmp_path / "run")
    assert lines[1]["train_loss"] < lines[0]["train_loss"]
    assert {tensor.dtype for tensor in network.tensors().values()} == {torch.float32}


def test_the_scale_is_remembered() -> None:
    settings = toy.recipe("run.precision=float16")
    first, second = (Updates(toy.network(), settings, torch.device("cpu")) for _ in range(2))
    first.backward(sum(parameter.sum() for parameter in first.network.parameters()) * 1e38)
    first.step(0.1, 0)
    second.restore(*first.snapshot())
    second.scaler.scale(torch.zeros(()))
    assert second.scaler.get_scale() == first.scaler.get_scale()
