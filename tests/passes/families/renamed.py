"""Our ResNet's tensor names as other authors would have written them: the other way round than the package reads."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import nn

from idsnn_convert.passes.resnet.module import ResNet, initialise
from idsnn_convert.passes.resnet.spec import ResNetSpec


def kuangliu(name: str) -> str:
    return name.replace("downsample", "shortcut").replace("fc.", "linear.")


def weiaicunzai(name: str) -> str:
    if name.startswith(("conv1.", "bn1.")):
        return f"conv1.{'conv1' not in name:d}.{name.split('.')[1]}"
    if found := re.match(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(.*)", name):
        stage, block, kind, number, slot = found.groups()
        place = 3 * (int(number) - 1) + (kind == "bn")
        return f"conv{int(stage) + 1}_x.{block}.residual_function.{place}.{slot}"
    return re.sub(r"^layer(\d)", lambda m: f"conv{int(m[1]) + 1}_x", name).replace("downsample", "shortcut")


def pycls(name: str) -> str:
    if name.startswith(("conv1.", "bn1.")):
        return "stem." + name.replace("1.", ".")
    name = re.sub(r"^layer(\d)\.(\d+)\.", lambda m: f"s{m[1]}.b{int(m[2]) + 1}.", name)
    name = re.sub(r"conv(\d)", lambda m: "f." + "xabc"[int(m[1])], name)
    name = re.sub(r"bn(\d)", lambda m: "f." + "xabc"[int(m[1])] + "_bn", name)
    return name.replace("downsample.0", "proj").replace("downsample.1", "bn").replace("fc.", "head.fc.")


def hugging_face(name: str) -> str:
    parts = {"conv": "convolution", "bn": "normalization"}
    if name.startswith(("conv1.", "bn1.")):
        kind, slot = name.split("1.")
        return f"resnet.embedder.embedder.{parts[kind]}.{slot}"
    name = re.sub(r"^layer(\d)\.(\d+)", lambda m: f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}", name)
    name = re.sub(r"(conv|bn)(\d)", lambda m: f"layer.{int(m[2]) - 1}.{parts[m[1]]}", name)
    name = name.replace("downsample.0", "shortcut.convolution").replace("downsample.1", "shortcut.normalization")
    return name.replace("fc.", "classifier.1.")


NAMINGS: dict[str, Callable[[str], str]] = {
    "torchvision/timm": lambda name: name,
    "kuangliu/pytorch-cifar": kuangliu,
    "weiaicunzai/pytorch-cifar100": weiaicunzai,
    "pycls": pycls,
    "Hugging Face": hugging_face,
}


def lively(spec: ResNetSpec, seed: int = 0) -> ResNet:
    """A network in eval mode whose batch norms do something, so that one in the wrong place is noticed."""
    network = ResNet(spec)
    initialise(network, seed)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5, generator=generator)
    return network.eval()
