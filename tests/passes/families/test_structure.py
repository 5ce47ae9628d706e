from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from idsnn_convert.passes.families.structure import Shapes, check_tensors, read_structure
from idsnn_convert.passes.resnet.archs import ARCHS
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.passes.targets import target_spec
from idsnn_convert.runtime.errors import UserError

SMALL = ResNetSpec("resnet(1-2 basic)", (1, 2), (4, 8), (4, 8), (1, 2), Stem(4), classes=3)


def shapes(spec: ResNetSpec) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = ResNet(spec).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", ARCHS)
def test_every_target_is_read_back_from_its_shapes(name: str, size: int) -> None:
    spec = target_spec(name, input_shape=(3, size, size), classes=7)
    assert read_structure(shapes(spec), size) == spec


@pytest.mark.parametrize(
    "changes",
    [
        {"shortcut": "pad"},
        {"shortcut": "conv"},
        {"projected_entry": True},
        {"block": "preact-basic", "after_add": "none"},
        {"block": "preact-basic", "after_add": "none", "shortcut": "conv", "final_norm": True},
        {"block": "bottleneck", "outputs": (16, 32), "name": "resnet(1-2 bottleneck)"},
        {"block": "bottleneck", "outputs": (16, 32), "groups": 2, "name": "resnet(1-2 bottleneck)"},
        {"window": 4},
        {"window": 8},
        {"hidden": 6},
        {"hidden": 6, "window": 8},
        {"bias": False},
        {"widths": (5, 6)},
        {"strides": (1, 1), "outputs": (4, 4), "widths": (4, 4)},
        {"in_channels": 1, "input_size": 28},
    ],
)
def test_what_shapes_tell_is_read_back(changes: dict[str, object]) -> None:
    spec = replace(SMALL, **changes)
    spec = replace(spec, name=f"resnet(1-2 {spec.block})")
    assert read_structure(shapes(spec)) == spec


@pytest.mark.parametrize(
    ("stem", "in_channels", "expected"),
    [(Stem(4), 3, 32), (Stem(4, 7, 2, 3, pool=True), 3, 224), (Stem(4), 1, 28), (Stem(4, 7, 2, 3, pool=True), 1, 28)],
)
def test_the_usual_input_size(stem: Stem, in_channels: int, expected: int) -> None:
    spec = replace(SMALL, stem=stem, in_channels=in_channels)
    assert read_structure(shapes(spec)).input_size == expected
    assert read_structure(shapes(spec), 48).input_size == 48


def changed(without: tuple[str, ...] = (), **sizes: tuple[int, ...]) -> Shapes:
    """SMALL's shapes, some taken out, some others; ``__`` stands for a dot."""
    found = shapes(SMALL) | {name.replace("__", "."): shape for name, shape in sizes.items()}
    return {name: shape for name, shape in found.items() if not name.startswith(without or "-")}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (changed(("layer2.0.",)), "block layer2.0 is missing; later ones are there"),
        (changed(layer4__0__conv1__weight=(8, 8, 3, 3)), "block layer3.0 is missing"),
        (changed(layer1__0__conv4__weight=(4, 4, 3, 3), layer1__0__conv3__weight=(4, 4, 3, 3)), "layer1.0 has 4 convolutions"),
        (changed(("layer1.0.conv2",)), "layer1.0 has 1 convolutions"),
        (changed(("layer2.0.conv1",)), "tensor 'layer2.0.conv1.weight' is missing"),
        (changed(conv1__weight=(4, 3, 5, 5)), "the first convolution is 5x5; a stem with 3x3 or 7x7"),
        (changed(conv1__weight=(4, 27)), r"'conv1.weight' has shape \(4, 27\)"),
        (changed(fc__weight=(3, 8, 1, 1)), r"'fc.weight' has shape \(3, 8, 1, 1\)"),
        (changed(fc__weight=(3, 0)), "dimensions that are not empty"),
        (changed(fc__weight=(3, 24)), "classifier reads 24 features, but the last stage gives 8 maps of 16x16"),
        (changed(fc__weight=(3, 72)), "classifier reads 72 features"),
        (changed(fc__weight=(3, 7)), "classifier reads 7 features"),
    ],
)
def test_shapes_that_form_no_residual_network_are_named(found: Shapes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_structure(found)


def test_the_features_hint_at_another_input_size() -> None:
    with pytest.raises(UserError, match="Were the images not 32x32"):
        read_structure(changed(fc__weight=(3, 72)))
    assert read_structure(changed(fc__weight=(3, 72)), 24).window == 4


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (changed(("layer2.1.bn2.running_var",)), r"needs a tensor of shape \(8,\) for 'layer2.1.bn2.running_var'"),
        (changed(layer2__1__bn2__bias=(9,)), r"'theirs.layer2.1.bn2.bias' must have shape \(8,\), not \(9,\)"),
        (changed(conv1__bias=(4,)), r"no place for tensor 'theirs.conv1.bias' of shape \(4,\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_as_in_the_file(found: Shapes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_tensors(SMALL, {name: f"theirs.{name}" for name in found}, found)


def test_tensors_that_fit_pass() -> None:
    check_tensors(SMALL, {name: name for name in shapes(SMALL)}, shapes(SMALL))
