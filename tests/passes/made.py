"""Teachers with random weights, as if loaded from a file, and targets to convert them to."""

from __future__ import annotations

from typing import Any

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.passes.types import Canonical, Teacher
from tests.graphs import random_tensors


def spec(depths: tuple[int, ...] = (3, 3), widths: tuple[int, ...] = (4, 8), **more: Any) -> ResNetSpec:
    """A small ResNet for 8x8 images and 5 classes."""
    settings: dict[str, Any] = {"outputs": widths, "strides": (1,) + (2,) * (len(depths) - 1), "stem": Stem(widths[0])}
    return ResNetSpec(
        **{"name": "small", "depths": depths, "widths": widths, "classes": 5, "input_size": 8, **settings, **more}
    )


def network(described: ResNetSpec) -> Canonical:
    """Its canonical graph and random tensors."""
    traced = trace_known(ResNet(described), described.input_shape)
    return Canonical(traced.graph, random_tensors(traced.graph), traced.origin)


def teacher(described: ResNetSpec, **more: Any) -> Teacher:
    """The same as a loaded file; the file's names have a prefix, as DataParallel gives them."""
    made = network(described)
    keys = {name: f"module.{name}" for name in made.tensors}
    facts: dict[str, Any] = {
        "path": "a/teacher.pth",
        "sha256": "0" * 64,
        "form": "state dict",
        "family": "made",
        "arch": "small",
    }
    return Teacher(**facts, graph=made.graph, tensors=made.tensors, keys=keys, **more)
