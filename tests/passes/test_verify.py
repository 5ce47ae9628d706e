from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from idsnn_convert.passes.convert import Settings, convert
from idsnn_convert.passes.families.variants import rebuilt
from idsnn_convert.passes.interpolate import interpolate
from idsnn_convert.passes.match import match
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.spike import spike
from idsnn_convert.passes.types import Target
from idsnn_convert.passes.verify import demand, verify
from idsnn_convert.passes.weightmap import WeightMap, map_weights
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.neurons import Neuron
from tests.graphs import random_tensors
from tests.passes.made import network, spec, teacher


@pytest.fixture
def parts() -> dict[str, Any]:
    """A right conversion's parts."""
    made, target = teacher(spec()), network(spec(widths=(6, 12))).graph
    weights = map_weights(match(segment(target), segment(made.graph)), target, made.graph)
    tensors = random_tensors(target, seed=3)
    for entry in weights.tensors:
        if entry.source:
            tensors[entry.target] = interpolate(made.tensors[entry.source], entry.target_shape)
    return {"ann": target, "spiking": spike(target, Neuron()), "tensors": tensors, "weights": weights, "teacher": made}


def failed(parts: dict[str, Any]) -> list[str]:
    return [check.name for check in verify(**parts) if not check.passed]


def test_a_right_conversion_passes(parts: dict[str, Any]) -> None:
    demand(verify(**parts))


def test_each_defect_fails_its_own_check(parts: dict[str, Any]) -> None:
    tensors = parts["tensors"]
    changed = {**tensors, "layer1.0.conv1.weight": tensors["layer1.0.conv1.weight"] + 1e-7}
    infinite = {**tensors, "fc.bias": torch.full((5,), torch.inf)}
    short = {name: value for name, value in tensors.items() if name != "fc.bias"}
    lost = WeightMap(parts["weights"].tensors, {})
    assert failed({**parts, "tensors": changed}) == ["mapped tensors equal the index rule"]
    assert failed({**parts, "tensors": infinite}) == ["all values are finite"]
    assert failed({**parts, "tensors": short}) == ["tensors fit the graph"]
    assert failed({**parts, "weights": lost}) == ["every teacher tensor is used or listed"]
    assert failed({**parts, "scale": "preserve"}) == ["mapped tensors equal the index rule"]
    fewer = network(spec(depths=(2, 2))).graph
    assert "one neuron per activation site" in failed({**parts, "ann": fewer})


def test_a_conversion_that_took_nothing_from_the_teacher_is_refused(parts: dict[str, Any]) -> None:
    nothing = WeightMap(
        tuple(replace(entry, source=None) for entry in parts["weights"].tensors),
        dict.fromkeys(parts["teacher"].tensors, "not used"),
    )
    assert failed({**parts, "weights": nothing}) == ["tensors come from the teacher"]


def test_large_values_are_finite_though_their_sum_is_not(parts: dict[str, Any]) -> None:
    parts["tensors"]["fc.bias"] = torch.full((5,), 3e38)
    demand(verify(**parts))


def test_a_failed_check_is_refused_with_what_was_found(parts: dict[str, Any]) -> None:
    parts["tensors"]["fc.bias"][0] = torch.nan
    with pytest.raises(UserError, match=r"not written: all values are finite: 1 tensors with NaN or infinity \(fc\.bias\)"):
        demand(verify(**parts))


def told(parts: dict[str, Any]) -> dict[str, str]:
    return {check.name: check.found for check in verify(**parts)}


def test_a_teacher_that_can_be_run_is_held_against_its_graph(parts: dict[str, Any]) -> None:
    name = "the canonical graph equals the teacher"
    assert name not in told(parts), "this one cannot"
    made = parts["teacher"]
    parts["teacher"] = replace(made, reference=rebuilt(spec(), made.tensors))
    assert told(parts)[name].startswith("max difference ")
    site = made.graph["layer1.1.relu1"]
    wrong = made.graph.with_nodes({site.name: replace(site, attrs={"kind": "silu"})})
    parts["teacher"] = replace(parts["teacher"], graph=wrong)
    assert failed(parts) == [name]
    assert told(parts)[name].startswith("layer1.1.relu1 is the first node to differ from the module its names and shapes")


def test_the_teachers_own_graph_with_its_tensors_computes_what_it_does() -> None:
    made = teacher(spec())
    made = replace(made, reference=rebuilt(spec(), made.tensors))
    target = Target("same", made.graph, same=True)
    checks = {check.name: check for check in convert(made, target, Settings(), {}).checks}
    check = checks["as an ANN it computes what the teacher does"]
    assert (check.passed, check.wanted) == (True, "within 1e-05")
    fresh = convert(made, target, Settings(head="fresh"), {}).checks
    assert check.name not in {each.name for each in fresh}, "its head is another"
