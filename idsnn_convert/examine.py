"""What would keep a teacher from converting, what to be careful of, and whether it is the network that was trained."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.api import converted
from idsnn_convert.learn import remembered
from idsnn_convert.passes.builder import RefusedError
from idsnn_convert.passes.cautions import Caution, cautions
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import check_fits
from idsnn_convert.runtime.fingerprint import LayerFit, NormalisationChoice, batch_norm_fit, choose_normalisation
from idsnn_convert.runtime.kernels import can_compile

IMAGES = 1000
"""Images that every batch norm is held against."""

DISAGREES = 0.15
"""A batch norm whose variances are off by more was not trained where it stands. Measured on four real CIFAR teachers: at
most 0.047 where all is right."""

OPTIONAL = ("onnx", "onnx_ir", "onnxruntime", "timm", "torchvision", "triton")


@dataclass(frozen=True)
class Problem:
    """One reason why a conversion would fail; node and source are empty where it is none of a single node."""

    reason: str
    advice: str = ""
    node: str = ""
    source: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Everything found; a conversion succeeds if there are no problems.

    Attributes:
        choice: how well each known normalisation fits; None without data.
        layers: how well every batch norm fits under the best; empty without data.
    """

    teacher: Teacher | None
    problems: tuple[Problem, ...] = ()
    cautions: tuple[Caution, ...] = ()
    choice: NormalisationChoice | None = None
    layers: tuple[LayerFit, ...] = field(default=())

    @property
    def first_wrong(self) -> LayerFit | None:
        """The first batch norm whose stored statistics the images do not reproduce."""
        return next((layer for layer in self.layers if layer.variance_log_ratio > DISAGREES), None)


def examine(
    path: str | Path,
    *,
    target: str | None = None,
    data: str | None = None,
    arch: str | None = None,
    input_size: int | None = None,
) -> Diagnosis:
    """Goes through a conversion without writing it, and on to the network's memory of its images if there are any.

    Args:
        target: the network it would become; without one only the teacher itself is examined.
        data: ``cifar10:DIR`` and the like: the images it was trained on.

    Raises:
        UserError: if there is no such file, or ``data`` cannot be read or does not suit the network.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        teacher = load_teacher(path, arch=arch, input_size=input_size)
    except RefusedError as error:
        refused = (Problem(r.reason, r.advice, r.node, r.source) for r in error.refusals)
        return Diagnosis(None, tuple(refused))
    except UserError as error:
        return Diagnosis(None, (Problem(error.problem, error.hint or ""),))
    problems, careful = _structure(teacher, target)
    if data is None:
        return Diagnosis(teacher, problems, careful)
    choice, layers = _memory(teacher, data)
    return Diagnosis(teacher, problems, careful, choice, layers)


def _structure(teacher: Teacher, target: str | None) -> tuple[tuple[Problem, ...], tuple[Caution, ...]]:
    try:
        cut = segment(teacher.graph)
        if not cut.stages:
            return (Problem("no residual block was found", "Only residual networks convert to another target."),), ()
        if not teacher.graph.of("activation"):
            return (Problem("the network has no activation, so nothing would spike"),), ()
        goal = teacher.graph if target is None else converted(teacher, target, Settings()).graph
    except UserError as error:
        return (Problem(error.problem, error.hint or ""),), ()
    return (), cautions(teacher.graph, cut, goal)


def _memory(teacher: Teacher, data: str) -> tuple[NormalisationChoice, tuple[LayerFit, ...]]:
    dataset = open_dataset(data)
    split = remembered(dataset)
    check_fits(teacher.graph, split)
    choice = choose_normalisation(teacher.graph, teacher.tensors, split)
    if choice.best is None:
        return choice, ()
    few, best = split.sample(IMAGES, 0), choice.best
    batches = train_batches(few, 250, seed=0, epoch=0, normalisation=best.normalisation, crop_padding=best.crop_padding)
    images = torch.cat([images for images, _ in batches])
    return choice, batch_norm_fit(teacher.graph, teacher.tensors, images)


def machine() -> dict[str, Any]:
    """What this machine has for conversion and training."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    device = torch.device("cuda" if gpus else "cpu")
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "compiled_kernels": can_compile(device),
        "optional_packages": {name: importlib.util.find_spec(name) is not None for name in OPTIONAL},
    }
