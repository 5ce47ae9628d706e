from __future__ import annotations

import pytest

from idsnn_convert.passes.chain.archs import CHAINS, Layer

STUDENTS = ("conv3-fc2", "vgg5", "vgg7", "vgg9", "vgg16", "resnet12")


def depth(name: str) -> int:
    """Convolutions and linear layers on the longest path."""
    per_layer = {"conv": 1, "residual": 2}
    return sum(per_layer.get(layer.kind, 0) for layer in CHAINS[name].layers()) + len(CHAINS[name].hidden) + 1


@pytest.mark.parametrize(("name", "layers"), [("conv3-fc2", 5), ("vgg5", 5), ("vgg7", 7), ("vgg9", 9), ("resnet12", 12)])
def test_the_number_in_a_name_counts_the_layers(name: str, layers: int) -> None:
    assert depth(name) == layers


def test_both_vgg16_have_sixteen_layers() -> None:
    assert depth("vgg16") == depth("vgg16_bn") == 16


@pytest.mark.parametrize("name", STUDENTS)
def test_students_are_shaped_as_the_paper_says(name: str) -> None:
    """Neither bias nor batch norm, mean pools alone, and dropout somewhere."""
    chain = CHAINS[name]
    kinds = {layer.kind for layer in chain.layers()}
    assert not chain.norm
    assert "max" not in kinds
    assert "mean" in kinds
    assert min(chain.dropout) > 0
    assert "dropout" in kinds or chain.hidden


def test_the_wide_stem_is_three_convolutions_with_two_dropouts_between() -> None:
    stem = [(layer.kind, layer.kernel) for layer in CHAINS["resnet12"].layers()][:5]
    assert stem == [("conv", 3), ("dropout", 3), ("conv", 3), ("dropout", 3), ("conv", 3)]


def test_words_of_a_chain() -> None:
    chain = CHAINS["conv3-fc2"]
    assert list(chain.layers())[:2] == [Layer("conv", 64, kernel=5), Layer("mean")]
    assert list(CHAINS["resnet12"].layers())[-1] == Layer("residual", 512, stride=2)
