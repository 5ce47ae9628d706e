from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.load.traced import NO_BLOCKS, arch_of, image_shape, traced_teacher
from idsnn_convert.passes.resnet.archs import arch_name
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.types import Canonical
from idsnn_convert.runtime.errors import UserError
from tests.passes.made import network, spec

FACTS: dict[str, Any] = {"path": "net.pt", "sha256": "0", "form": "made", "family": "Net"}
CIFAR = {"widths": (16, 32, 64), "depths": (1, 1, 1)}
BOTTLENECK = {"block": "bottleneck", "depths": (1, 2), "widths": (4, 8), "outputs": (16, 32)}


def test_the_teacher_holds_what_was_traced() -> None:
    traced = network(spec())
    stored = [*traced.origin.values(), "bn1.num_batches_tracked", "aux.weight"]
    teacher = traced_teacher(traced, stored, **FACTS, notes=["Assumed."])
    assert (teacher.graph, teacher.keys, teacher.assumptions) == (traced.graph, traced.origin, ("Assumed.",))
    assert teacher.unread == {
        "bn1.num_batches_tracked": "a counter of training batches, not a weight",
        "aux.weight": "the network computes without it",
    }
    assert all(torch.equal(teacher.tensors[name], tensor) for name, tensor in traced.tensors.items())


def test_what_weights_are_computed_from_is_said() -> None:
    made = network(spec())
    convs = {f"{node.name}.weight": f"{node.name}.weight" for node in made.graph.of("conv2d")}
    traced = replace(made, computed={slot: (origin, f"{origin}_gain") for slot, origin in convs.items()})
    teacher = traced_teacher(traced, [*made.origin.values(), "conv1.weight_gain"], **FACTS)
    assert teacher.unread == {"conv1.weight_gain": "computed into conv1.weight"}
    (told,) = teacher.assumptions
    assert "taken as computed: conv1.weight, layer1.0.conv1.weight, layer1.0.conv2.weight and " in told


def test_half_precision_is_converted_and_it_is_said() -> None:
    traced = network(spec())
    half = replace(traced, tensors={name: tensor.half() for name, tensor in traced.tensors.items()})
    teacher = traced_teacher(half, [], **FACTS)
    assert {tensor.dtype for tensor in teacher.tensors.values()} == {torch.float32}
    assert teacher.assumptions == ("Weights stored as float16 were converted to float32.",)


def test_an_unsound_tensor_goes_by_its_own_name() -> None:
    traced = network(spec())
    broken = Canonical(
        traced.graph, {**traced.tensors, "fc.weight": torch.full((5, 8), torch.nan)}, {**traced.origin, "fc.weight": "head.w"}
    )
    with pytest.raises(UserError, match=r"tensor 'head\.w' holds 40 values that are NaN"):
        traced_teacher(broken, [], **FACTS)


def test_a_network_that_gives_maps_is_refused() -> None:
    traced = trace_known(nn.Sequential(nn.Conv2d(3, 2, 1)), (3, 8, 8))
    with pytest.raises(UserError, match=r"it gives 2 x 8 x 8 values for an image.*\nA teacher must classify"):
        traced_teacher(traced, [], **FACTS)


def test_the_architecture_can_be_demanded() -> None:
    traced = network(spec(**CIFAR))
    assert traced_teacher(traced, [], **FACTS, arch="resnet8").arch == "resnet8"
    with pytest.raises(UserError, match="its blocks are those of resnet8, not of resnet18"):
        traced_teacher(traced, [], **FACTS, arch="resnet18")


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        (spec(**CIFAR), "resnet8"),
        (spec(**CIFAR, block="preact-basic", after_add="none", final_norm=True), "preact_resnet8"),
        (spec(), "resnet(3-3)"),
        (spec(**BOTTLENECK), "resnet(1-2)"),
        (spec(**{**CIFAR, "widths": (16, 32, 65), "outputs": (16, 32, 65)}), "resnet(1-1-1)"),
        (spec((3, 4), (64, 128), outputs=(256, 512), block="bottleneck", groups=32), "resnet(3-4)"),
    ],
)
def test_a_network_is_called_by_its_blocks(described: Any, expected: str) -> None:
    assert arch_of(network(described).graph) == expected
    if "(" not in expected:
        assert arch_name(described) == expected


@pytest.mark.parametrize(
    ("groups", "width", "expected"), [(1, 64, "resnet50"), (32, 128, "resnext50_32x4d"), (1, 128, "wide_resnet50_2")]
)
def test_bottlenecks_are_told_apart_by_width_and_groups(groups: int, width: int, expected: str) -> None:
    widths = tuple(width << stage for stage in range(4))
    shape = {"outputs": (256, 512, 1024, 2048), "block": "bottleneck", "groups": groups, "input_size": 16}
    with torch.device("meta"):
        module = ResNet(spec((3, 4, 6, 3), widths, **shape))
    assert arch_of(trace_known(module, (3, 16, 16)).graph) == expected


def test_a_plain_chain_is_no_residual_network() -> None:
    assert (
        arch_of(trace_known(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(128, 5)), (3, 8, 8)).graph) == NO_BLOCKS
    )


@pytest.mark.parametrize(
    ("conv", "size", "said"),
    [
        (nn.Conv2d(3, 4, 3), 32, "behind a 3x3 convolution of stride 1"),
        (nn.Conv2d(3, 4, 3, 2), 224, "behind a 3x3 convolution of stride 2"),
        (nn.Conv2d(3, 4, 7, 2), 224, "behind a 7x7 convolution of stride 2"),
        (nn.Conv2d(1, 4, 3), 28, "for images of one channel"),
    ],
)
def test_the_usual_image_size(conv: nn.Conv2d, size: int, said: str) -> None:
    parts = [nn.Identity(), nn.Linear(2, 2), conv, nn.Conv2d(4, 9, 5, 5)]
    assert image_shape(parts, None) == ((conv.in_channels, size, size), (f"The images are {size}x{size}, as usual {said}.",))
    assert image_shape(parts, 48) == ((conv.in_channels, 48, 48), ())


@pytest.mark.parametrize(("kernel", "size"), [(3, 32), (7, 224)])
def test_a_convolution_that_hides_its_stride(kernel: int, size: int) -> None:
    conv = nn.Conv2d(3, 4, kernel)
    del conv.stride
    assert image_shape([conv], None)[0] == (3, size, size)


def test_what_is_no_network_of_images_is_refused() -> None:
    with pytest.raises(UserError, match="it has no convolution"):
        image_shape([nn.Linear(2, 2)], None)
    with pytest.raises(UserError, match=r"images of shape \(3, 0, 0\) cannot be"):
        image_shape([nn.Conv2d(3, 4, 3)], 0)
