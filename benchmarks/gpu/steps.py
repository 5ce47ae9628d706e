"""Seconds of one training step on a GPU, and of a CIFAR epoch at that pace.

    PYTHONPATH=.:benchmarks python benchmarks/gpu/steps.py [--arch resnet18] [--time-steps 4] [--batch 256]

Ours compiled, by Inductor and by hand in Triton, and plain, the convolutions alone, SpikingJelly (its torch backend: the
rectangle surrogate runs on no other) and snnTorch take turns in every round, in float32 (TF32 as PyTorch's default has it)
and bfloat16; time is taken after the device is done. Data are on the device, so an epoch is 50,000 / batch steps and nothing
else. Writes benchmarks/results/gpu_train_step_ARCH_tT_bB.json.
"""

from __future__ import annotations

import argparse
import time

import torch
from common import Floor, Step, facts, images_and_labels, show, spiking_graph, summary, training_step, under, write
from train_step import HALVES, INDUCTOR, makers

from idsnn_convert.runtime.backends import CUDA_KERNELS, MAKERS

IMAGES = 50_000
WARM_UPS = 5
ON_CPUS = ("layer by layer", "Winograd convolutions alone", INDUCTOR, "compiled, convolutions direct")
"""Versions that say nothing about a GPU."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    for name, value in (("time-steps", 4), ("batch", 256), ("rounds", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no GPU that PyTorch can use")
    steps = {f"{name}, bfloat16" if bf16 else name: step for bf16 in (False, True) for name, step in versions(args, bf16)}
    for step in steps.values():
        for _ in range(WARM_UPS):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            torch.cuda.synchronize()
            began = time.perf_counter()
            step()
            torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    rows = summary(seconds, ("convolutions alone", "convolutions alone, bfloat16", "SpikingJelly"))
    for row in rows.values():
        row["epoch_s"] = round(row["median_s"] * IMAGES / args.batch, 2)
    device = {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    write(f"gpu_train_step_{args.arch}_t{args.time_steps}_b{args.batch}", facts(**vars(args)) | device | {"step": rows})
    show(rows)


def versions(args: argparse.Namespace, bf16: bool) -> list[tuple[str, Step]]:
    images, labels = (each.cuda() for each in images_and_labels(args.batch))
    found = []
    for name, make in makers(spiking_graph(args.arch), args.time_steps, args.batch).items():
        if name in ON_CPUS or (bf16 and name not in HALVES):
            continue
        try:
            network = make().cuda()
        except ImportError:
            print(f"{name} is not installed and is left out")
            continue
        if isinstance(network, Floor):
            network.inputs = [each.detach().cuda().requires_grad_(each.requires_grad) for each in network.inputs]
            network.gradients = [each.cuda() for each in network.gradients]
        step = training_step(network, images, labels, bf16)
        found += (
            [(f"{name}, {maker}", under(CUDA_KERNELS, maker, step)) for maker in MAKERS]
            if name == "compiled"
            else [(name, step)]
        )
    return found


if __name__ == "__main__":
    main()
