from __future__ import annotations

import re

import pytest

from idsnn_convert.passes.families.schemes import SCHEMES

ROWS = {scheme.family: scheme for scheme in SCHEMES}


@pytest.mark.parametrize(
    ("family", "theirs", "ours"),
    [
        ("torchvision/timm", "layer2.0.downsample.1.running_var", "layer2.0.downsample.1.running_var"),
        ("torchvision/timm", "layer4.22.conv3.weight", "layer4.22.conv3.weight"),
        ("torchvision/timm", "last_linear.bias", "fc.bias"),
        ("kuangliu/pytorch-cifar", "layer3.0.shortcut.0.weight", "layer3.0.downsample.0.weight"),
        ("kuangliu/pytorch-cifar", "linear.weight", "fc.weight"),
        ("kuangliu/pytorch-cifar", "bn.weight", "bn_last.weight"),
        ("weiaicunzai/pytorch-cifar100", "conv1.1.bias", "bn1.bias"),
        ("weiaicunzai/pytorch-cifar100", "conv2_x.0.residual_function.0.weight", "layer1.0.conv1.weight"),
        ("weiaicunzai/pytorch-cifar100", "conv5_x.2.residual_function.7.running_mean", "layer4.2.bn3.running_mean"),
        ("weiaicunzai/pytorch-cifar100", "conv3_x.0.shortcut.1.weight", "layer2.0.downsample.1.weight"),
        ("pycls", "stem.bn.weight", "bn1.weight"),
        ("pycls", "s1.b1.f.a.weight", "layer1.0.conv1.weight"),
        ("pycls", "s4.b3.f.c_bn.bias", "layer4.2.bn3.bias"),
        ("pycls", "s2.b1.proj.weight", "layer2.0.downsample.0.weight"),
        ("pycls", "s2.b1.bn.weight", "layer2.0.downsample.1.weight"),
        ("pycls", "head.fc.bias", "fc.bias"),
        ("Hugging Face", "resnet.embedder.embedder.convolution.weight", "conv1.weight"),
        ("Hugging Face", "resnet.embedder.embedder.normalization.bias", "bn1.bias"),
        ("Hugging Face", "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight", "layer1.0.conv1.weight"),
        ("Hugging Face", "resnet.encoder.stages.3.layers.2.layer.1.normalization.weight", "layer4.2.bn2.weight"),
        ("Hugging Face", "resnet.encoder.stages.1.layers.0.shortcut.normalization.weight", "layer2.0.downsample.1.weight"),
        ("Hugging Face", "classifier.1.weight", "fc.weight"),
    ],
)
def test_a_name_of_each_kind(family: str, theirs: str, ours: str) -> None:
    assert ROWS[family].rename(theirs) == ours


@pytest.mark.parametrize("family", ROWS)
@pytest.mark.parametrize(
    "name", ["layer1.0.se.fc1.weight", "x.conv1.weight", "conv1.weight.x", "layer1.conv1.weight", "optimizer"]
)
def test_a_name_the_scheme_does_not_have_is_left_alone(family: str, name: str) -> None:
    assert ROWS[family].rename(name) is None


@pytest.mark.parametrize("family", ROWS)
def test_every_rule_is_a_pattern_of_whole_names(family: str) -> None:
    for pattern, _ in ROWS[family].rules:
        assert re.compile(pattern).fullmatch("") is None
