"""Makes the shipped example: a ResNet-14 trained on all of Fashion-MNIST, and a few of its images.

    python examples/make_example.py fashion-mnist:DIR

DIR holds the official idx files (Debian: package dataset-fashion-mnist). Writes beside this file
``fashion-mnist/`` (5,000 training and 1,000 test images, the same number of each class, in the official layout) and
``fashion_mnist_resnet14.pth`` (the teacher's state dict), and ``fashion_mnist_resnet14.json`` (how it was trained).
About 20 minutes on 2 cores; an interrupted run goes on when the script is started again.
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.targets import target_spec
from idsnn_convert.report.progress import TrainingBar
from idsnn_convert.runtime.data import Split, open_dataset
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.runtime.trainer import train

HERE = Path(__file__).resolve().parent
EPOCHS = 6
PER_CLASS = {"train": 500, "t10k": 100}


def balanced(split: Split, per_class: int) -> Split:
    """The first ``per_class`` images of each class, in stored order."""
    chosen = torch.cat([torch.nonzero(split.labels == label)[:per_class, 0] for label in range(split.classes)])
    rows = chosen.sort().values
    return Split(split.images[rows], split.labels[rows], split.classes)


def write_idx(path: Path, values: Tensor) -> None:
    """uint8 values in the idx format, gzipped without a time stamp, so that equal content gives equal bytes."""
    header = struct.pack(f">HBB{values.dim()}I", 0, 8, values.dim(), *values.shape)
    path.write_bytes(gzip.compress(header + values.to(torch.uint8).numpy().tobytes(), 9, mtime=0))


def save_network(network: nn.Module, path: Path, record: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save({"state_dict": dict(network.state_dict()), "record": json.dumps(record)}, part)
    part.replace(path)


def main() -> None:
    dataset = open_dataset(sys.argv[1])
    folder = HERE / "fashion-mnist"
    folder.mkdir(exist_ok=True)
    for name, split in (("train", dataset.train), ("t10k", dataset.test)):
        few = balanced(split, PER_CLASS[name])
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", few.images[:, 0])
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", few.labels)

    recipe = load_recipe("teacher", [f"run.epochs={EPOCHS}", "augment.crop_padding=2"])
    spec = target_spec("resnet14", input_shape=dataset.train.image_shape, classes=dataset.train.classes)
    traced = trace_known(ResNet(spec), spec.input_shape)
    network = build(traced.graph, fresh_tensors(traced.graph, recipe.run.seed))
    run = HERE / "run"
    normalisation = KNOWN[dataset.name]
    resume = (run / "metrics.jsonl").exists()
    with TrainingBar() as bar:
        train(network, dataset, recipe, run, normalisation=normalisation, save=save_network, watcher=bar, resume=resume)
    name = "fashion_mnist_resnet14"
    torch.save({"state_dict": {key: value.clone() for key, value in network.state_dict().items()}}, HERE / f"{name}.pth")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    facts = {"data": dataset.name, "normalisation": normalisation.to_json(), "recipe": recipe.to_json(), "epochs": metrics}
    (HERE / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
