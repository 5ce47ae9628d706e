"""Files a user may have: a small teacher, a small data set, what is neither; and the commands run on them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner, Result

from idsnn_convert.cli import main
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from tests.passes.made import network

SPEC = ResNetSpec(
    name="small",
    depths=(2, 2, 2),
    widths=(4, 6, 8),
    outputs=(4, 6, 8),
    strides=(1, 2, 2),
    stem=Stem(4),
    classes=10,
    in_channels=1,
    input_size=28,
)

PADDED = replace(SPEC, depths=(2, 1, 2), widths=(4, 8, 16), outputs=(4, 8, 16), shortcut="pad")
"""Recognised as an akamaster CIFAR ResNet."""

TINY = ("--target", "resnet8", "--width", "0.25", "-T", "2")
"""A student of 4-8-16 channels."""


def run(*arguments: object, **environment: str) -> Result:
    """The ``idsnn`` command in a pipe of 80 columns, stdout and stderr apart."""
    settings: dict[str, Any] = {"COLUMNS": "80", "NO_COLOR": None, "FORCE_COLOR": None, **environment}
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=settings, prog_name="idsnn")


def done(*arguments: object, **environment: str) -> Result:
    """The same, where it must succeed."""
    result = run(*arguments, **environment)
    assert result.exit_code == 0, result.output
    return result


def teacher(path: Path, spec: ResNetSpec = SPEC) -> Path:
    """A ResNet for grey 28x28 images, random weights, as DataParallel saves it."""
    made = network(spec)
    names = dict(ResNet(spec).state_dict())
    state = {f"module.{name}": made.tensors.get(name, value) for name, value in names.items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    return path


def data(folder: Path, train: int = 40, test: int = 20) -> str:
    """Random images in Fashion-MNIST's layout; the argument of ``--data``."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for name, count in (("train", train), ("t10k", test)):
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x0803, count, 28, 28) + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x0801, count) + labels.tobytes())
    return f"fashion-mnist:{folder}"


def wrong_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is no ResNet's file: name of the case -> path, and what must be said of it."""
    told = {
        "missing.pth": "no such file",
        "empty.pth": "is empty",
        "text.pth": "is a text file",
        "cut.pth": "cut short",
        "other.pth": "form no known ResNet",
        "folder": "is a folder",
    }
    cases = {name: (folder / name, words) for name, words in told.items()}
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.pth").write_text("accuracy 93.1\n")
    whole = teacher(folder / "whole.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
    torch.save({"encoder.weight": torch.zeros(3, 4), "encoder.bias": torch.zeros(3)}, folder / "other.pth")
    (folder / "folder").mkdir()
    return cases


def assert_told(result: Result, *words: str) -> None:
    """Exit code 2, nothing on stdout, one message on stderr that holds ``words``, no traceback."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def unwrapped(text: str) -> str:
    """``text`` with all its lines as one, words apart by one space."""
    return " ".join(text.split())


def columns(text: str) -> int:
    return max(map(len, text.splitlines()))
