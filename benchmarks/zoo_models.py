"""The zoo: every ResNet that timm and torchvision can build offline, the CIFAR families, and relatives that are none.

Which models are ResNets is said here and nowhere else. timm: all models of :data:`RESNET_FILES`, and those of
:data:`MIXED_FILES` whose name has "resne" in it. torchvision: the factories of ``torchvision.models.resnet``. A name stands
for an architecture: tags that name weights of one (``.a1_in1k``, ig, ssl, swsl) are left out, as ``timm.list_models()`` does.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchvision
from timm.models._registry import _model_to_module
from torch import Tensor, nn
from torch.nn import functional

from tests.passes.families.renamed import NAMINGS

RESNET_FILES = ("resnet", "resnetv2", "res2net", "resnest", "sknet", "senet", "tresnet")
"""Files of timm.models that hold nothing but residual networks of convolutions."""

MIXED_FILES = ("byobnet", "nfnet")
"""Files of timm.models that hold ResNets beside RepVGG, MobileOne, RegNet-Z, NFNet."""

RELATIVES = (
    "regnetx_002", "regnety_002", "regnetz_005", "repvgg_a0", "gernet_s", "regnetz_c16", "dm_nfnet_f0", "selecsls42",
    "botnet26t_256", "halonet26t", "lambda_resnet26t", "sebotnet33ts_256", "densenet121", "dla34", "dpn68", "hrnet_w18_small",
    "cspresnet50", "cspresnext50", "vgg11_bn", "inception_v3", "inception_resnet_v2", "xception41", "ese_vovnet19b_dw",
    "convnext_atto", "mobilenetv3_small_050", "efficientnet_b0", "ghostnet_050", "rexnet_100", "convmixer_768_32",
    "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s32_224",
)  # fmt: skip
"""Networks of timm that are no ResNets: one or two of each kind."""

SIZES = (64, 128, 224, 256)
"""Heights tried, in order; the first that the model itself runs at is taken."""


IMAGENET = (
    ("resnet18", (2, 2, 2, 2), False),
    ("resnet34", (3, 4, 6, 3), False),
    ("resnet50", (3, 4, 6, 3), True),
    ("resnet101", (3, 4, 23, 3), True),
    ("resnet152", (3, 8, 36, 3), True),
)
"""Name, blocks a stage, and whether they are bottlenecks (He et al. 2015)."""


@dataclass(frozen=True)
class Model:
    """One model of the zoo: its name, where it is from, and how it is built, with random weights."""

    name: str
    source: str
    build: Callable[[], nn.Module]
    form: str = "module"
    keys: Callable[[str], str] | None = None
    size: int = 0
    relative: bool = False


class CifarBlock(nn.Module):
    """Basic or bottleneck; an option A shortcut takes every second pixel and pads zero channels."""

    def __init__(self, cin: int, width: int, stride: int, long: bool, pads: bool) -> None:
        super().__init__()
        cout = 4 * width if long else width
        sizes = [(cin, width, 1, 1), (width, width, 3, stride), (width, cout, 1, 1)] if long else []
        sizes = sizes or [(cin, width, 3, stride), (width, width, 3, 1)]
        for i, (before, after, kernel, step) in enumerate(sizes, 1):
            self.add_module(f"conv{i}", nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(after))
        self.count, self.stride, self.grow = len(sizes), stride, cout - cin if pads else 0
        projects = not pads and (stride > 1 or cin != cout)
        self.downsample = nn.Sequential()
        if projects:
            self.downsample.extend([nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)])

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i in range(1, self.count + 1):
            out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
            out = out if i == self.count else functional.relu(out)
        if self.grow:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grow // 2, self.grow // 2))
        return functional.relu(out + self.downsample(x))


class CifarResNet(nn.Module):
    """The 3x3 stem without a pool, written with functions, as the CIFAR families are; torchvision's tensor names."""

    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...], long: bool, pads: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
        self.stages, cin = len(depths), widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
            blocks = nn.Sequential()
            for block in range(depth):
                blocks.append(CifarBlock(cin, width, 2 if stage > 1 and not block else 1, long, pads))
                cin = 4 * width if long else width
            self.add_module(f"layer{stage}", blocks)
        self.fc = nn.Linear(cin, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            out = getattr(self, f"layer{stage}")(out)
        logits: Tensor = self.fc(functional.adaptive_avg_pool2d(out, 1).flatten(1))
        return logits


class Logits(nn.Module):
    """A model of transformers that gives its logits alone, under its own tensor names."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x).logits
        return logits


def zoo() -> list[Model]:
    """The ResNets, then the relatives."""
    relatives = [Model(name, "timm", _of_timm(name), relative=True) for name in RELATIVES]
    return [*_timm(), *_torchvision(), *_cifar(), *_hugging_face(), *relatives]


def _timm() -> list[Model]:
    found = []
    for name in timm.list_models():
        file = _model_to_module[name]
        if file in RESNET_FILES or (file in MIXED_FILES and "resne" in name):
            found.append(Model(name, f"timm {file}", _of_timm(name)))
    return found


def _of_timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False)


def _torchvision() -> list[Model]:
    names = [name for name in torchvision.models.list_models() if _torchvision_file(name) == "torchvision.models.resnet"]
    return [Model(f"torchvision_{name}", "torchvision", _of_torchvision(name)) for name in names]


def _torchvision_file(name: str) -> str:
    return torchvision.models.get_model_builder(name).__module__


def _of_torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None)


def _cifar() -> list[Model]:
    """The families' own structures, under the names their authors gave the tensors."""
    small = [("akamaster", f"resnet{6 * n + 2}", (n, n, n), (16, 32, 64), False) for n in (1, 2, 3, 5, 7, 9, 18)]
    wide = [("kuangliu", name, depths, (64, 128, 256, 512), long) for name, depths, long in IMAGENET]
    others = [("weiaicunzai", *rest) for _, *rest in wide]
    found = []
    for family, arch, depths, widths, long in (*small, *wide, *others):
        keys = next((naming for name, naming in NAMINGS.items() if name.startswith(family)), None)
        build = _of_cifar(depths, widths, long, pads=family == "akamaster")
        found.append(Model(f"{family}_{arch}", f"CIFAR, {family}", build, "state dict", keys or str, 32))
    return found


def _of_cifar(depths: tuple[int, ...], widths: tuple[int, ...], long: bool, pads: bool) -> Callable[[], nn.Module]:
    return lambda: CifarResNet(depths, widths, long, pads)


def _hugging_face() -> list[Model]:
    """ResNetForImageClassification of transformers, read from its state dict; none where transformers is not installed."""
    try:
        import transformers
    except ModuleNotFoundError:
        return []
    found = []
    for name, depths, long in IMAGENET:
        config = transformers.ResNetConfig(
            depths=list(depths),
            hidden_sizes=[256, 512, 1024, 2048] if long else [64, 128, 256, 512],
            layer_type="bottleneck" if long else "basic",
            num_labels=1000,
        )
        found.append(Model(f"hf_{name}", "transformers", _of_hugging_face(config), "state dict", str))
    return found


def _of_hugging_face(config: Any) -> Callable[[], nn.Module]:
    import transformers

    return lambda: Logits(transformers.ResNetForImageClassification(config))


def versions() -> dict[str, str]:
    names = ("torch", "timm", "torchvision", "transformers", "spikingjelly", "sinabs")
    found = {name: importlib.util.find_spec(name) is not None for name in names}
    return {name: importlib.metadata.version(name) for name in names if found[name]}


def lively(model: nn.Module, images: Tensor) -> nn.Module:
    """``model`` in eval mode as if trained: no zero scales, and norms that hold the statistics of ``images``.

    Fresh models hide mistakes: their last norms scale by 0, their statistics are 0 and 1.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2 and name.endswith("bias"):
                parameter.normal_(0, 0.1)
            elif parameter.dim() < 2:
                parameter.uniform_(0.5, 1.5)
        norms: list[Any] = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        kept = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        model.train()(images)
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
    return model.eval()
