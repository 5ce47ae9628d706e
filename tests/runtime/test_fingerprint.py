from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.data import Split, open_dataset
from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fingerprint import (
    LayerFit,
    NormalisationChoice,
    NormalisationFit,
    _first_fit,
    _patch_moments,
    choose_normalisation,
    layer_fit,
    rank_normalisations,
)
from idsnn_convert.runtime.graph import Attr, Graph, Node
from idsnn_convert.runtime.normalisation import KNOWN, Normalisation, candidates
from idsnn_convert.runtime.ops import inferred
from idsnn_convert.runtime.recipe import Augment
from tests import graphs
from tests.runtime.trained import photographs, trained

EPS = 1e-5
BN = {"channels": 2, "eps": EPS, "momentum": 0.1, "affine": True}


def cropped(split: Split, normalisation: Normalisation, padding: int) -> Tensor:
    """All of ``split`` as a trainer would have fed it, by another seed than the ranking's."""
    batches = train_batches(
        split, len(split), seed=9, epoch=9, normalisation=normalisation, augment=Augment(crop_padding=padding)
    )
    return next(iter(batches))[0]


def test_one_batch_norm_by_hand() -> None:
    """600 images of one pixel, more than one forward pass: seen mean 1 and variance 4, and mean -2 and variance 1."""
    graph = Graph(
        (
            Node("x", "input", shape=(2, 1, 1)),
            Node("bn", "batch_norm", ("x",), BN, (2, 1, 1)),
            Node("out", "output", ("bn",), shape=(2, 1, 1)),
        )
    )
    sign = torch.ones(600).index_fill_(0, torch.arange(300), -1)
    images = torch.stack([1 + 2 * sign, -2 + sign], 1).view(600, 2, 1, 1)
    stored = {"running_mean": [0.0, -2.0], "running_var": [1.0, 2.0], "weight": [3.0, 3.0], "bias": [1.0, 1.0]}
    fit = layer_fit(graph["bn"], images, {f"bn.{slot}": torch.tensor(values) for slot, values in stored.items()})
    assert fit.node == "bn"
    assert fit.variance_log_ratio == pytest.approx((math.log(4) + math.log(2)) / 2, abs=1e-4)
    assert fit.mean_shift == pytest.approx(0.5, abs=1e-4)
    assert [fit.seen, fit.stored] == pytest.approx([2.5, 1.5])
    assert fit.off_by == fit.variance_log_ratio


def test_one_number_for_means_and_variances() -> None:
    assert LayerFit("bn", 0.2, 0.1).off_by == 0.2
    assert LayerFit("bn", 0.2, 0.4).off_by == pytest.approx(0.6)


def test_a_dead_channel_counts_for_nothing() -> None:
    graph = Graph(
        (
            Node("x", "input", shape=(2, 1, 1)),
            Node("bn", "batch_norm", ("x",), BN, (2, 1, 1)),
            Node("out", "output", ("bn",), shape=(2, 1, 1)),
        )
    )
    stored = {
        "running_mean": torch.zeros(2),
        "running_var": torch.tensor([0.0, 1e-16]),
        "weight": torch.ones(2),
        "bias": torch.ones(2),
    }
    images = torch.tensor([[1e-9, 0.0], [-1e-9, 0.0]]).view(2, 2, 1, 1)
    fit = layer_fit(graph["bn"], images, {f"bn.{slot}": value for slot, value in stored.items()})
    assert fit.variance_log_ratio < 1e-6
    assert fit.mean_shift < 1e-3


@pytest.mark.parametrize("padding", [4, 0])
@pytest.mark.parametrize("name", ["imagenet", "cifar10", "cifar10-kuangliu", "cifar100", "half", "none"])
def test_the_normalisation_and_the_crop_of_training_are_found(tiny_graph: Graph, name: str, padding: int) -> None:
    split = photographs()
    tensors = trained(tiny_graph, cropped(split, KNOWN[name], padding))
    choice = choose_normalisation(tiny_graph, tensors, split, images=300)
    assert choice.best is not None
    assert (choice.best.normalisation.name, choice.best.crop_padding) == (name, padding)
    assert choice.clear
    assert len(choice.fits) == 6
    assert [fit.fit for fit in choice.fits] == sorted(fit.fit for fit in choice.fits)


def test_images_of_one_channel() -> None:
    split, graph = photographs(channels=1), graphs.ann(shape=(1, 8, 8))
    choice = choose_normalisation(graph, trained(graph, cropped(split, KNOWN["fashion-mnist"], 0)), split)
    assert choice.fits[0].normalisation.name == "fashion-mnist"
    assert len(choice.fits) == 3
    assert choice.clear


def test_a_network_trained_on_something_else_leaves_doubt(tiny_graph: Graph) -> None:
    split = photographs()
    strange = Normalisation("strange", (0.4,), (0.35,))
    choice = choose_normalisation(tiny_graph, trained(tiny_graph, cropped(split, strange, 4)), split)
    assert choice.best is not None
    assert not choice.clear
    assert "not beyond doubt" in choice.describe()


def test_normalisations_all_but_equal_do_not_spoil_a_clear_choice(tiny_graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Normalisation("twin", (0.486, 0.456, 0.406), (0.229, 0.224, 0.226))
    split = photographs()
    tensors = trained(tiny_graph, cropped(split, KNOWN["imagenet"], 4))
    for others, clear in (((twin,), True), ((Normalisation("near", (0.485, 0.456, 0.406), (0.235, 0.230, 0.231)),), False)):
        names = (KNOWN["imagenet"], *others, KNOWN["none"])
        monkeypatch.setattr("idsnn_convert.runtime.fingerprint.candidates", lambda channels, names=names: names)
        assert choose_normalisation(tiny_graph, tensors, split).clear is clear


def replaced(graph: Graph, *names: str) -> Graph:
    """``graph`` with dropout, which does nothing, in these places."""
    return graph.with_nodes({name: Node(name, "dropout", graph[name].inputs, {"p": 0.0}, graph[name].shape) for name in names})


@pytest.mark.parametrize(
    "gone",
    [
        ["bn1"],  # the first batch norm left comes after an activation
        ["bn1", "layer1.0.bn1", "layer1.0.bn2", "layer2.0.bn1", "layer2.0.bn2", "layer2.0.downsample.1"],
    ],
)
def test_a_network_without_a_batch_norm_after_its_first_convolution_cannot_tell(tiny_graph: Graph, gone: list[str]) -> None:
    graph = replaced(tiny_graph, *gone)
    tensors = graphs.random_tensors(graph)
    assert rank_normalisations(graph, tensors, photographs(5)) == ()
    choice = choose_normalisation(graph, tensors, photographs(5))
    assert choice.best is None
    assert not choice.clear
    assert "no batch norm follows the network's first convolution" in choice.describe()


@pytest.mark.parametrize(
    "window",
    [
        {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "bias": False},
        {"kernel": (5, 3), "stride": (2, 1), "padding": (0, 3), "dilation": (1, 2), "bias": True},
    ],
)
@pytest.mark.parametrize("padding", [4, 0])
def test_the_ranking_is_what_running_the_network_on_the_same_crops_gives(window: dict[str, Any], padding: int) -> None:
    """The ranking never runs the network: it works from the moments of the patches that the convolution sees."""
    split = photographs(40)
    attrs = {**window, "in_channels": 3, "out_channels": 4, "groups": 1}
    draft = Node("conv1", "conv2d", ("x",), attrs)
    shape = inferred(draft, ((3, 16, 16),))
    conv, norm = replace(draft, shape=shape), Node("bn1", "batch_norm", ("conv1",), {**BN, "channels": 4}, shape)
    graph = Graph((Node("x", "input", shape=(3, 16, 16)), conv, norm, Node("out", "output", ("bn1",), shape=shape)))
    tensors = graphs.random_tensors(graph)
    moments = _patch_moments(conv, split, padding, seed=7)
    for normalisation in candidates(3):
        batches = train_batches(split, 40, seed=7, epoch=0, normalisation=normalisation, augment=Augment(crop_padding=padding))
        seen = F.conv2d(
            next(iter(batches))[0],
            tensors["conv1.weight"],
            tensors.get("conv1.bias"),
            *(window[key] for key in ("stride", "padding", "dilation")),
        )
        wanted = layer_fit(norm, seen, tensors)
        assert _first_fit(conv, norm, tensors, moments, normalisation) == pytest.approx(wanted.variance_log_ratio, rel=1e-4)


def test_patches_come_in_pieces_that_fit_memory(tiny_graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _patch_moments(tiny_graph["conv1"], photographs(20), 4, seed=0)
    monkeypatch.setattr("idsnn_convert.runtime.fingerprint.PATCH_ELEMENTS", 1)
    pieces = _patch_moments(tiny_graph["conv1"], photographs(20), 4, seed=0)
    assert all(torch.allclose(one, other) for one, other in zip(whole, pieces, strict=True))


def test_other_channels_are_refused(tiny_graph: Graph) -> None:
    tensors, grey = graphs.random_tensors(tiny_graph), photographs(5, channels=1)
    with pytest.raises(UserError, match="the network takes 3 channels, the images have 1"):
        rank_normalisations(tiny_graph, tensors, grey)


def test_a_choice_in_words() -> None:
    fits = tuple(NormalisationFit(KNOWN[name], fit, 4) for name, fit in (("imagenet", 0.021), ("cifar10", 0.1861)))
    assert NormalisationChoice(fits, clear=True).describe() == "normalisation imagenet: off by 0.02, next cifar10 by 0.19"


def stem_of(path: Path) -> tuple[Graph, Mapping[str, Tensor]]:
    """The first conv and batch norm of a teacher's file."""
    held = torch.load(path, weights_only=True, map_location="cpu")
    state = {
        name.removeprefix("module."): tensor for name, tensor in (held.get("state_dict") or held["model_state_dict"]).items()
    }
    width = len(state["conv1.weight"])
    conv: dict[str, Attr] = {"in_channels": 3, "out_channels": width, "kernel": (3, 3), "stride": (1, 1), "padding": (1, 1)}
    shape = (width, 32, 32)
    nodes = (
        Node("x", "input", shape=(3, 32, 32)),
        Node("conv1", "conv2d", ("x",), {**conv, "dilation": (1, 1), "groups": 1, "bias": False}, shape),
        Node("bn1", "batch_norm", ("conv1",), {**BN, "channels": width}, shape),
        Node("out", "output", ("bn1",), shape=shape),
    )
    slots = ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var")
    return Graph(nodes), {slot: state[slot] for slot in slots}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("resnet20-12fca82f.th", "imagenet"),
        ("resnet32-d509ac18.th", "imagenet"),
        ("resnet8_cifar10.pth", "cifar10-kuangliu"),
        ("resnet8_cifar100.pth", "cifar100"),
    ],
)
def test_real_teachers_tell_their_normalisation(
    teachers_dir: Path, request: pytest.FixtureRequest, file: str, name: str
) -> None:
    hundred = file.endswith("100.pth")
    folder = request.getfixturevalue("cifar100_dir" if hundred else "cifar10_dir")
    # 500 test images, to be quick: any images of the kind will do, and these tell as well as 3,000.
    test = open_dataset(f"cifar{100 if hundred else 10}:{folder}").test
    choice = choose_normalisation(*stem_of(teachers_dir / file), test, images=500)
    assert choice.best is not None
    assert choice.best.normalisation.name == name
    assert choice.best.crop_padding == 4
    assert choice.clear
