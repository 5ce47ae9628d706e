"""Files a user may have: a small teacher, a small data set, and what is neither."""

from __future__ import annotations

import struct
from pathlib import Path

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


def run(*arguments: object) -> Result:
    """The ``idsnn`` command, stdout and stderr apart."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def teacher(path: Path) -> Path:
    """A ResNet-14 of 4-6-8 channels for grey 28x28 images, random weights, as DataParallel saves it."""
    made = network(SPEC)
    names = dict(ResNet(SPEC).state_dict())
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


def wrong_files(folder: Path) -> dict[str, Path]:
    """What is no ResNet's file: name of the case -> path."""
    cases = {name: folder / name for name in ("missing.pth", "empty.pth", "text.pth", "cut.pth", "other.pth", "folder")}
    cases["empty.pth"].write_bytes(b"")
    cases["text.pth"].write_text("accuracy 93.1\n")
    whole = teacher(folder / "whole.pth").read_bytes()
    cases["cut.pth"].write_bytes(whole[: len(whole) // 2])
    torch.save({"encoder.weight": torch.zeros(3, 4), "encoder.bias": torch.zeros(3)}, cases["other.pth"])
    cases["folder"].mkdir()
    return cases


def assert_told(result: Result, *words: str) -> None:
    """Exit code 2, nothing on stdout, one message on stderr that holds ``words``, no traceback."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
