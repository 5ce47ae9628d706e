from __future__ import annotations

from dataclasses import replace

import torch

from idsnn_convert.passes.equal import compare, module_reference
from idsnn_convert.passes.folded import folded
from idsnn_convert.runtime.network import build
from tests.passes.made import spec, teacher

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_folded_teacher_computes_the_same_and_lists_what_went_where() -> None:
    made = teacher(spec())
    found = folded(made)
    assert not found.graph.of("batch_norm")
    before, after = (build(one.graph, one.tensors).eval()(IMAGES) for one in (made, found))
    assert torch.allclose(before, after, atol=1e-4)
    assert found.keys.keys() == found.tensors.keys()
    assert found.keys["conv1.weight"] == "module.conv1.weight"
    assert found.keys["conv1.bias"] == "module.bn1.bias"
    assert found.unread["module.bn1.running_var"] == "folded into conv1"
    assert set(found.keys.values()) | found.unread.keys() == set(made.keys.values())


def test_it_is_held_against_the_teacher_as_it_was() -> None:
    made = teacher(spec())
    reference = module_reference(build(made.graph, made.tensors), (3, 8, 8))
    found = folded(replace(made, reference=reference))
    assert found.reference is not None
    equal = compare(found.graph, found.tensors, found.reference)
    assert equal.first_different == ""
    assert equal.nodes > 20
    wrong = {**found.tensors, "layer1.0.conv1.bias": found.tensors["layer1.0.conv1.bias"] + 1}
    assert compare(found.graph, wrong, found.reference).first_different == "layer1.0.conv1"


def test_a_teacher_without_norms_is_left_alone() -> None:
    made = folded(teacher(spec()))
    assert folded(made) is made
