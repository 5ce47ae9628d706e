"""Whether the fused layers on a GPU give what the layers one by one give there; exits with 1 if not.

    PYTHONPATH=.:benchmarks python benchmarks/gpu/kernels.py

Plain and, where Triton is installed, compiled by Inductor and by hand in Triton; float32, bfloat16 and float16; odd shapes,
one step, one image, maps that are not channels-last. Spikes may differ where a potential lies within rounding of its
threshold: at most one in a thousand in half precision, in ten thousand else. Gradients are compared where no spike of the
layer differs.

Then the time of the layer's forward and backward on maps of a spiking ResNet-18 at batch 256, medians of 20 rounds in which
all take turns, and the bytes they must move at least over that time, beside those of a copy of such maps on the same GPU.
Writes benchmarks/results/gpu_kernels.json.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable

import torch
from common import facts, write
from torch import Tensor, nn

from idsnn_convert.runtime.backends import CUDA_KERNELS, MAKERS
from idsnn_convert.runtime.fused import FusedNeuron
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.neurons import Neuron, SpikingNeuron

SHAPES = ((4, 2, 64, 32, 32), (4, 3, 17, 7, 5), (1, 1, 1, 1, 1), (6, 2, 130, 3, 3), (9, 1, 8, 16, 16))
"""T, B, C, H, W."""
FLIPS = {torch.float32: 1e-4, torch.bfloat16: 1e-3, torch.float16: 1e-3}
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}


MAPS = ((4, 256, 64, 32, 32), (4, 256, 128, 16, 16), (4, 256, 512, 4, 4))
"""Of the timed layers, in bfloat16 and with a residual."""
ROUNDS = 20


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("there is no GPU that PyTorch can use")
    makers = ("plain", *(MAKERS if can_compile(torch.device("cuda")) else ()))
    wrong = 0
    for maker in makers:
        for dtype in FLIPS:
            for shape in SHAPES:
                for residual in (False, True):
                    flips, apart = compared(maker, dtype, shape, residual)
                    bad = flips > FLIPS[dtype] or (flips == 0 and apart > CLOSE[dtype])
                    wrong += bad
                    told = f"{maker} {dtype} {shape} residual={residual}: {flips:.2e} of spikes, gradients off by {apart:.1e}"
                    print(told, "WRONG" if bad else "")
    device = {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    rows = [row for shape in MAPS for row in timed(makers, shape)]
    for row in rows:
        print(row)
    write("gpu_kernels", facts(rounds=ROUNDS) | device | {"wrong": wrong, "layers": rows})
    sys.exit(wrong > 0)


def timed(makers: tuple[str, ...], shape: tuple[int, ...]) -> list[dict[str, object]]:
    """A row each of who makes the kernels, and of a copy."""
    steps, batch, *sizes = shape
    x, added, seen = (
        torch.randn(steps * batch, *sizes, device="cuda", dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
        for _ in range(3)
    )
    # Forward: x and residual in, spikes and 2 bits a step out. Backward: gradient, bits and x in, twice; dx and dX out.
    code = x.numel() // steps * -(-steps // 4)
    least = {"forward": 3 * 2 * x.numel() + code, "backward": 2 * (2 * 2 * x.numel() + code) + 2 * 2 * x.numel()}
    calls: dict[str, dict[str, Callable[[], object]]] = {"copy": {"forward": lambda: seen.copy_(x)}}
    for maker in makers:
        layer, norm = SpikingNeuron(Neuron(), steps), nn.BatchNorm2d(sizes[0], device="cuda")
        given = [x.clone().requires_grad_(), added.clone().requires_grad_()]
        fused = FusedNeuron(layer, norm, maker != "plain")

        def forward(fused: nn.Module = fused, given: list[Tensor] = given) -> Tensor:
            spikes: Tensor = fused(*given)
            return spikes

        calls[maker] = {
            "forward": forward,
            "both": lambda forward=forward, given=given: torch.autograd.grad(forward(), given, seen),
        }
    found: dict[tuple[str, str], list[float]] = {}
    for round_ in range(-5, ROUNDS):
        for maker, parts in calls.items():
            os.environ[CUDA_KERNELS] = maker if maker in MAKERS else MAKERS[0]
            for part, call in parts.items():
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                call()
                end.record()
                torch.cuda.synchronize()
                if round_ >= 0:
                    found.setdefault((maker, part), []).append(start.elapsed_time(end) / 1000)
    rows: list[dict[str, object]] = []
    for maker, parts in calls.items():
        seconds = {part: statistics.median(found[maker, part]) for part in parts}
        if maker == "copy":
            rate: dict[str, float] = {"copy": 2 * 2 * x.numel() / seconds["forward"]}
        else:
            rate = {"forward": least["forward"] / seconds["forward"], "both": sum(least.values()) / seconds["both"]}
        told = {part: round(second * 1000, 4) for part, second in seconds.items()}
        rows.append(
            {"maps": shape, "maker": maker, "ms": told, "gb_s": {part: round(each / 1e9) for part, each in rate.items()}}
        )
    return rows


def compared(maker: str, dtype: torch.dtype, shape: tuple[int, ...], residual: bool) -> tuple[float, float]:
    """The share of spikes that differ, and the largest difference of a gradient, relative to its largest value."""
    steps, batch, *sizes = shape
    os.environ[CUDA_KERNELS] = maker if maker in MAKERS else MAKERS[0]
    torch.manual_seed(0)
    x, added, seen = (torch.randn(steps * batch, *sizes, device="cuda").to(dtype) for _ in range(3))
    found: list[list[Tensor]] = []
    for fuse in (False, True):
        norm = nn.BatchNorm2d(sizes[0], device="cuda").train(len(x) * sizes[1] * sizes[2] > 1)
        layer = SpikingNeuron(Neuron(), steps)
        given = [x.clone().requires_grad_(), *([added.clone().requires_grad_()] if residual else [])]
        if fuse:
            spikes = FusedNeuron(layer, norm, maker != "plain")(*given)
        else:  # potentials in float32, as the fused layer keeps them
            spikes = layer(norm(given[0].float()) + sum(each.float() for each in given[1:])).to(dtype)
        found.append([spikes, *torch.autograd.grad((spikes * seen).float().sum(), [*given, norm.weight, norm.bias])])
    flips = (found[0][0] != found[1][0]).double().mean().item()
    pairs = zip(found[0][1:], found[1][1:], strict=True)
    apart = max(((a - b).abs().max() / a.abs().max().clamp_min(1e-6)).item() for a, b in pairs)
    return flips, apart


if __name__ == "__main__":
    main()
