from __future__ import annotations

from dataclasses import replace

import pytest

from idsnn_convert.passes.families.recognise import assumptions
from idsnn_convert.passes.families.variants import differences, graph_of, read_as, variants
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.runtime.ops import tensor_shapes
from tests.passes.made import spec, teacher

PLAIN = spec(depths=(2, 2))
PADDED = spec(depths=(2, 2), shortcut="pad")
BOTTLENECK = spec(depths=(1, 1), outputs=(16, 32), block="bottleneck")
PREACT = spec(depths=(1, 1), block="preact-basic", after_add="none", final_norm=True)


@pytest.mark.parametrize("read", [PLAIN, PADDED, BOTTLENECK, PREACT, spec(depths=(1, 1), window=2)])
def test_the_same_tensors_fit_every_variant_and_none_computes_the_same(read: ResNetSpec) -> None:
    graphs = [graph_of(variant) for variant in (read, *variants(read))]
    assert len(graphs) > 3
    assert all(tensor_shapes(graph) == tensor_shapes(graphs[0]) for graph in graphs)
    shapes = [[(node.op, node.inputs, node.attrs) for node in graph] for graph in graphs]
    assert all(shape not in shapes[:i] for i, shape in enumerate(shapes))


@pytest.mark.parametrize("read", [PLAIN, PADDED, BOTTLENECK])
def test_each_differs_in_one_thing_and_says_in_what(read: ResNetSpec) -> None:
    told = [differences(read, variant) for variant in variants(read)]
    assert all(len(sentences) == 1 for sentences in told)
    assert len(set(told)) == len(told)


def test_what_is_open() -> None:
    told = [sentence for variant in variants(PADDED) for sentence in differences(PADDED, variant)]
    for sentence in (
        "The first convolution has stride 1 and padding 1, and a 3x3 max pool of stride 2 follows.",
        "The first convolution has stride 2 and padding 1, and no pool follows.",
        "The first convolution has stride 1 and padding 3, and no pool follows.",
        "The stages begin with strides 1, 1.",
        "Blocks stride in their last convolution.",
        "There is a ReLU after the last block's add of each stage only.",
        "There is no ReLU after an add.",
        "Shortcuts that change shape skip pixels and pad with zero channels behind.",
        "Shortcuts that change shape average pixels and pad with zero channels.",
    ):
        assert sentence in told
    assert [variant.stride_at for variant in variants(BOTTLENECK) if variant.stride_at != "3x3"] == ["1x1", "last"]


def test_a_stage_of_one_block_has_one_last_add() -> None:
    short = spec(depths=(1, 1))
    assert [variant.after_add for variant in variants(short) if variant.after_add != "block"] == ["none"]


def test_a_large_stem_may_lose_its_pool() -> None:
    large = replace(PLAIN, stem=Stem(4, 7, 2, 3, pool=True), input_size=32)
    assert Stem(4, 7, 2, 3, pool=False) in [variant.stem for variant in variants(large)]


def test_windows_follow_the_map_or_the_variant_falls_out() -> None:
    """A head that flattens 2x2 means of an 8x8 map takes as many features of windows half the size from half the map."""
    pooled = spec(depths=(1, 1), window=2)
    assert pooled.features == 8 * 4
    stride_less = next(variant for variant in variants(pooled) if variant.strides == (1, 1))
    assert (stride_less.window, stride_less.features) == (4, 32)
    assert all(variant.features == 32 for variant in variants(pooled))


def test_a_teacher_read_otherwise_keeps_its_tensors_and_notes() -> None:
    read = teacher(PADDED, spec=PADDED, assumptions=("Of the file.", *assumptions(PADDED)))
    other = replace(PADDED, stride_at="last")
    again = read_as(read, other)
    assert again.spec == other
    assert again.graph == graph_of(other)
    assert again.tensors is read.tensors
    assert again.assumptions == ("Of the file.", *assumptions(other))
    with pytest.raises(ValueError, match="its own graph"):
        read_as(teacher(PADDED), other)
