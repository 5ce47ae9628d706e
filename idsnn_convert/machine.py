"""What this machine offers: processor, GPUs, compilers, and the optional packages."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from idsnn_convert import __version__
from idsnn_convert.runtime.allocator import can_keep_memory
from idsnn_convert.runtime.fixed_point import supported
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.native import compiler
from idsnn_convert.runtime.winograd import available
from idsnn_convert.threads import processors


@dataclass(frozen=True)
class Optional:
    """A package that is not always installed.

    Attributes:
        extra: what to install for it: ``pip install 'idsnn-convert[EXTRA]'``.
        purpose: what it is needed for.
    """

    extra: str
    purpose: str


OPTIONAL: dict[str, Optional] = {
    "onnx": Optional("cpu", "ONNX teachers"),
    "onnx-ir": Optional("cpu", "ONNX teachers"),
    "onnxruntime": Optional("cpu", "running ONNX files"),
    "onnxruntime-gpu": Optional("gpu", "the same on a GPU"),
    "torchvision": Optional("zoo", "whole models saved by torchvision"),
    "timm": Optional("zoo", "whole models of timm, timm:MODEL@FILE"),
    "matplotlib": Optional("plot", "the curves of a study"),
    "pillow": Optional("data", "data sets in image files"),
    "pyarrow": Optional("data", "data sets in Parquet files"),
    "triton": Optional("", "compiled kernels on a GPU"),
}


def machine() -> dict[str, Any]:
    """The facts, JSON-native; memory in GiB."""
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "kind": "machine",
        "idsnn_convert": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cpus": processors(),
        "threads": torch.get_num_threads(),
        "gpus": [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)} for gpu in gpus],
        "cxx_compiler": compiler(),
        "compiled_kernels": {
            "cpu": can_compile(torch.device("cpu")),
            "cuda": bool(gpus) and can_compile(torch.device("cuda")),
        },
        "integer_convolutions": supported(),
        "winograd_convolutions": compiler() is not None and available(),
        "keeps_memory": can_keep_memory(),
        "packages": {name: _version(name) for name in OPTIONAL},
        "warnings": _warnings(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _warnings() -> list[str]:
    found = []
    if _version("onnxruntime") and _version("onnxruntime-gpu"):
        found.append("onnxruntime and onnxruntime-gpu are both installed: only the CPU works; remove both, install one")
    cpus = processors()
    if torch.get_num_threads() > cpus:
        found.append(f"PyTorch uses {torch.get_num_threads()} threads on {cpus} processors: set OMP_NUM_THREADS={cpus}")
    if torch.version.cuda and not torch.cuda.is_available():
        found.append("this PyTorch is built for CUDA, but no GPU can be used: look at nvidia-smi")
    return found
