from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch

from idsnn_convert.passes.convert import Settings, convert
from idsnn_convert.passes.mapping import BINS, LOOKED_AT, digest, histogram, stages
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import Target
from tests.passes.made import network, spec, teacher


@pytest.fixture(scope="module")
def mapping() -> dict[str, Any]:
    target = Target("thin", network(spec(depths=(2, 1), widths=(6, 8))).graph)
    made = teacher(spec(), unread={"epoch": "a counter"})
    return dict(convert(made, target, Settings(), {}).checkpoint.mapping)


def test_every_mapped_tensor_names_its_source_where_it_stood_and_its_bytes(mapping: dict[str, Any]) -> None:
    source = teacher(spec()).tensors
    rows = {row["target"]: row for row in mapping["tensors"]}
    row = rows["layer1.1.conv2.weight"]
    assert (row["source"], row["place"], row["source_place"]) == (
        "module.layer1.2.conv2.weight", "stage1.block1", "stage1.block2"
    )  # fmt: skip
    tensor = source["layer1.2.conv2.weight"]
    assert row["source_sha256"] == hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
    assert row["source_histogram"] == histogram(tensor)
    assert row["sha256"] != row["source_sha256"]  # 6 channels from 4
    fresh = rows["fc.weight"]
    assert [fresh[key] for key in ("source_place", "source_sha256", "source_histogram")] == [None, None, None]


def test_what_is_not_used_says_where_it_stood(mapping: dict[str, Any]) -> None:
    rows = {row["source"]: row for row in mapping["unused"]}
    assert rows["module.layer1.1.conv1.weight"]["place"] == "stage1.block1"
    assert rows["module.layer1.1.conv1.weight"]["shape"] == [4, 4, 3, 3]
    assert rows["module.fc.bias"]["place"] == "head"
    assert rows["epoch"] == {"source": "epoch", "reason": "a counter"}


def test_stages_of_both_networks_and_the_rule_of_each_pair(mapping: dict[str, Any]) -> None:
    teacher_stages, target_stages = mapping["stages"]["teacher"], mapping["stages"]["target"]
    assert [len(stage["blocks"]) for stage in teacher_stages] == [3, 3]
    assert [(stage["shape"], len(stage["blocks"])) for stage in target_stages] == [([6, 8, 8], 2), ([8, 4, 4], 1)]
    assert {pair["rule"] for pair in mapping["pairs"]} == {"relative"}
    assert [site["neuron"] for site in mapping["sites"]][:2] == ["lif", "layer1.0.lif1"]


def test_a_stage_tells_its_blocks_and_shortcuts() -> None:
    graph = network(spec(depths=(1, 1), shortcut="pad")).graph
    first, second = stages(segment(graph), graph)
    assert (first["blocks"][0]["shortcut"], second["blocks"][0]["shortcut"]) == ("identity", "pad")
    assert (first["blocks"][0]["name"], first["blocks"][0]["join"], first["blocks"][0]["convolutions"]) == (
        "stage1.block0", "layer1.0.add", 2
    )  # fmt: skip


def test_a_histogram_holds_every_finite_value() -> None:
    values = torch.linspace(-1, 1, BINS * 10)
    assert histogram(values) == {"low": -1.0, "high": 1.0, "counts": [10] * BINS}
    assert histogram(torch.full((2, 3), 0.5)) == {"low": 0.5, "high": 0.5, "counts": [6]}
    odd = histogram(torch.tensor([torch.nan, torch.inf, 1.0, 2.0, -torch.inf]))
    assert (odd["low"], odd["high"], sum(odd["counts"])) == (1.0, 2.0, 2)
    assert histogram(torch.tensor([torch.nan])) == {"low": 0.0, "high": 0.0, "counts": []}


def test_a_digest_is_of_the_values_in_order_however_they_lie_in_memory() -> None:
    tensor = torch.arange(6.0).view(2, 3)
    assert digest(tensor.t().contiguous().t()) == digest(tensor) == hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def test_the_histogram_of_a_large_tensor_counts_evenly_chosen_values_between_the_ends_of_all() -> None:
    values = torch.linspace(0, 1, 9 * 40_000).view(-1, 9)
    values[123, 4] = 7.0  # an end that few would choose
    found = histogram(values)
    assert (found["low"], found["high"]) == (0.0, 7.0)
    assert LOOKED_AT / 3 < sum(found["counts"]) <= LOOKED_AT
    kernels = histogram(torch.arange(9.0).repeat(40_000))  # every place of a 3x3 kernel is met as often
    filled = [count for count in kernels["counts"] if count]
    assert len(filled) == 9
    assert max(filled) - min(filled) <= 1
