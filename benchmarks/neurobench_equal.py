"""Our synaptic operations beside those that neurobench itself counts on the same network and images.

    python benchmarks/neurobench_equal.py cifar10:DIR resnet20=STUDENT.safetensors ...

Run it where ``neurobench`` is installed beside this package. neurobench adds up in float32, which holds whole numbers up to
2^24 a layer and call: so a call is one image, shown for T steps, and the sums are exact. It counts what hooks see, so
the network computes its first layer anew at every step, as hardware would and as we count it; and both run every layer
on its own, since fused layers round otherwise, which flips a few spikes.
Writes ``benchmarks/results/neurobench.json``: both counts, a mean over the images; they must be equal.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import TorchModel
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.common import RESULTS, facts
from idsnn_convert.runtime.checkpoint import Checkpoint, read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.normalisation import from_json
from idsnn_convert.runtime.synops import count

IMAGES = 20


def main() -> None:
    torch.set_num_threads(1)
    data, *given = sys.argv[1:]
    found: dict[str, Any] = {"settings": facts(images=IMAGES, data=data.partition(":")[0], neurobench=version("neurobench"))}
    for name, place in (argument.split("=", 1) for argument in given):
        checkpoint = read(Path(place))
        split = open_dataset(data).test.first(IMAGES)
        batches = list(test_batches(split, 1, normalisation=from_json(checkpoint.normalisation)))
        ours, theirs = counted(checkpoint, batches), by_neurobench(checkpoint, batches)
        found[name] = {"ours": ours, "neurobench": theirs, "equal": ours == theirs}
        print(name, found[name])
    (RESULTS / "neurobench.json").write_text(json.dumps(found, indent=1) + "\n")


def counted(checkpoint: Checkpoint, batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    work = count(compare.plain(checkpoint), batches)
    found = {"Effective_MACs": work.macs(), "Effective_ACs": work.acs(), "Dense": work.dense_macs * work.time_steps}
    return {key: round(value, 6) for key, value in found.items()}


def by_neurobench(checkpoint: Checkpoint, batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """neurobench's metric, by its own benchmark."""
    steps = checkpoint.time_steps
    # An encoder that draws keeps the runtime from computing the first layers once; this one draws nothing.
    network = SpikingNetwork(checkpoint.graph, checkpoint.tensors, steps, "poisson", fused=False).eval()
    network.encoder = lambda images, steps: images.repeat(steps, 1, 1, 1)
    images, labels = (torch.cat(each) for each in zip(*batches, strict=True))
    loader = DataLoader(TensorDataset(images, labels), batch_size=1)
    model = TorchModel(network)
    with torch.no_grad():
        metrics = [[], [SynapticOperations]]
        told = Benchmark(model, loader, [], [lambda logits: logits.mean(0).argmax(-1)], metrics).run(quiet=True)
    return {key: round(float(value), 6) for key, value in told["SynapticOperations"].items()}


if __name__ == "__main__":
    main()
