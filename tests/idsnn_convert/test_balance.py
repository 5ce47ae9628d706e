from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from idsnn_convert.api import Settings, convert
from idsnn_convert.balance import Balancing
from idsnn_convert.learn import evaluate_file
from idsnn_convert.passes.targets import plain_target
from idsnn_convert.report.build import recorded
from idsnn_convert.runtime import neurons
from idsnn_convert.runtime.ann_file import AnnFile, save_ann
from idsnn_convert.runtime.checkpoint import Checkpoint, read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.readout import Readout
from tests.idsnn_convert import files

torch.set_num_threads(1)
FEW = Balancing(steps=40, images=8)


def network(place: Path, arch: str = "vgg5", normalisation: str | None = "half") -> Path:
    """A network without spikes and without training, in a file of its own."""
    target = plain_target(arch, input_shape=(1, 28, 28), classes=10, width=0.0625)
    tensors = fresh_tensors(target.graph, 0)
    known = None if normalisation is None else KNOWN[normalisation].to_json()
    save_ann(place, AnnFile(arch, target.graph, tensors, known))
    return place


def made(place: Path, data: str, balance: Balancing = FEW, **changes: Any) -> Checkpoint:
    neuron = neurons.usual_neuron("if")
    settings = Settings(**{"neuron": neuron, "time_steps": 20, **changes})
    return convert(place, "same", place.with_suffix(".student"), settings=settings, balance=balance, data=data).checkpoint


def test_the_checkpoint_says_what_its_thresholds_come_from(fashion: str, tmp_path: Path) -> None:
    student = made(network(tmp_path / "ann"), fashion)
    assert student.graph == read(tmp_path / "ann.student").graph
    told = student.mapping["balance"]
    assert {node.name: node.attr("v_threshold") for node in student.graph.of("neuron")} == {
        row["neuron"]: row["v_threshold"] for row in told["thresholds"]
    }
    assert (told["rule"], told["steps"], told["images"], told["seed"]) == ("max", 40, 8, 0)
    assert (told["data"], told["encoder"], told["curve"], told["scaled"]) == ("fashion-mnist", "direct", None, [])
    images = open_dataset(fashion).train.sample(8, 0).images
    assert told["images_sha256"] == hashlib.sha256(images.numpy().tobytes()).hexdigest()
    assert student.readout == Readout("membrane")
    assert student.normalisation == KNOWN["half"].to_json()
    assert [row["status"] for row in student.mapping["tensors"]] == ["exact"] * 5
    json.dumps(student.metadata())


def test_the_curve_is_what_evaluation_gives(fashion: str, tmp_path: Path) -> None:
    place = network(tmp_path / "ann")
    student = made(place, fashion, Balancing(steps=40, images=8, curve=24))
    curve = student.mapping["balance"]["curve"]
    assert curve["steps"] == [*range(1, 11), 13, 16, 20]
    snn, _ = evaluate_file(place.with_suffix(".student"), fashion)
    assert curve["top1"] == [snn.top1_per_step[step - 1] for step in curve["steps"]]
    assert curve["ann_top1"] == evaluate_file(place, fashion)[0].top1
    assert curve["images"] == 24


def test_norms_are_folded_and_biases_become_constant_currents(tmp_path: Path) -> None:
    data = files.data(tmp_path / "data")
    student = made(network(tmp_path / "ann", "resnet8"), data)
    assert not student.graph.of("batch_norm")
    balance = student.mapping["balance"]
    assert len(balance["scaled"]) == len(student.graph.of("conv2d"))  # all but the first, and the head
    reasons = [row["reason"] for row in student.mapping["cautions"]]
    assert any("biases became constant currents" in reason for reason in reasons)
    assert any("multiplied by a constant where they meet" in reason for reason in reasons)
    assert {row["reason"] for row in student.mapping["unused"] if "running_var" in row["source"]} == {
        f"folded into {node.name}" for node in student.graph.of("conv2d")
    }
    record = recorded(student)
    assert not [tensor.target for tensor in record.tensors if tensor.trained]
    assert record.balance is not None


def test_a_max_pool_is_refused_by_name(tmp_path: Path) -> None:
    target = plain_target("resnet8", input_shape=(1, 28, 28), classes=10, stem="imagenet", width=0.0625)
    save_ann(tmp_path / "ann", AnnFile("resnet8", target.graph, fresh_tensors(target.graph, 0)))
    with pytest.raises(UserError, match=r"through the max_pool2d 'maxpool'[\s\S]*mean pools"):
        made(tmp_path / "ann", files.data(tmp_path / "data"))


def test_pixels_beyond_one_are_told_where_they_become_spikes(fashion: str, tmp_path: Path) -> None:
    place = network(tmp_path / "ann", normalisation=None)
    student = made(place, fashion, Balancing(steps=40, images=8, normalisation="0.5/0.25"), encoder="poisson")
    assert any("% of the pixels are beyond 1" in row["reason"] for row in student.mapping["cautions"])
    within = made(place, fashion, Balancing(steps=40, images=8, normalisation="none"), encoder="poisson")
    assert not within.mapping["cautions"]
    assert within.normalisation == KNOWN["none"].to_json()
    habit = made(place, fashion)
    assert habit.normalisation == KNOWN["fashion-mnist"].to_json()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"target": "vgg7"}, r"but the target is vgg7[\s\S]*--target same"),
        ({"data": None}, "no data set"),
        ({"balance": Balancing("mean")}, r"unknown rule 'mean' of balancing[\s\S]*percentile:99.5"),
        ({"balance": Balancing("percentile:high")}, "unknown rule 'percentile:high'"),
        ({"balance": Balancing("percentile:101")}, "a percentile is above 0 and at most 100, not 101"),
        ({"balance": Balancing(steps=0)}, "steps must be at least 1, not 0"),
        ({"balance": Balancing(images=0)}, "images must be at least 1"),
        ({"balance": Balancing(curve=-1)}, "curve must be at least 0"),
        ({"settings": Settings()}, r"leaks or learns[\s\S]*--neuron if"),
    ],
)
def test_what_cannot_be_balanced_is_refused_and_nothing_is_written(
    fashion: str, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    place = network(tmp_path / "ann")
    settings = Settings(neuron=neurons.usual_neuron("if"))
    given: dict[str, Any] = {"target": "same", "settings": settings, "balance": FEW, "data": fashion, **changes}
    with pytest.raises(UserError, match=told):
        convert(place, output=tmp_path / "student", **given)
    assert not (tmp_path / "student").exists()


def test_percentiles_by_name() -> None:
    assert [Balancing(rule).percentile for rule in ("max", "percentile", "percentile:95")] == [100.0, 99.9, 95.0]
