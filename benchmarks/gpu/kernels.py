"""Whether the fused layers on a GPU give what the layers one by one give there; exits with 1 if not.

    PYTHONPATH=. python benchmarks/gpu/kernels.py

Plain and, where Triton is installed, compiled; float32, bfloat16 and float16; odd shapes, one step, one image, maps that
are not channels-last. Spikes may differ where a potential lies within rounding of its threshold: at most one in a
thousand in half precision, in ten thousand else. Gradients are compared where no spike of the layer differs.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.fused import FusedNeuron
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.neurons import Neuron, SpikingNeuron

SHAPES = ((4, 2, 64, 32, 32), (4, 3, 17, 7, 5), (1, 1, 1, 1, 1), (6, 2, 130, 3, 3), (9, 1, 8, 16, 16))
"""T, B, C, H, W."""
FLIPS = {torch.float32: 1e-4, torch.bfloat16: 1e-3, torch.float16: 1e-3}
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("there is no GPU that PyTorch can use")
    wrong = 0
    for compiled in (False, True) if can_compile(torch.device("cuda")) else (False,):
        for dtype in FLIPS:
            for shape in SHAPES:
                for residual in (False, True):
                    flips, apart = compared(compiled, dtype, shape, residual)
                    bad = flips > FLIPS[dtype] or (flips == 0 and apart > CLOSE[dtype])
                    wrong += bad
                    kind = "compiled" if compiled else "plain"
                    told = f"{kind} {dtype} {shape} residual={residual}: {flips:.2e} of spikes, gradients off by {apart:.1e}"
                    print(told, "WRONG" if bad else "")
    sys.exit(wrong > 0)


def compared(compiled: bool, dtype: torch.dtype, shape: tuple[int, ...], residual: bool) -> tuple[float, float]:
    """The share of spikes that differ, and the largest difference of a gradient, relative to its largest value."""
    steps, batch, *sizes = shape
    torch.manual_seed(0)
    x, added, seen = (torch.randn(steps * batch, *sizes, device="cuda").to(dtype) for _ in range(3))
    found: list[list[Tensor]] = []
    for fuse in (False, True):
        norm = nn.BatchNorm2d(sizes[0], device="cuda").train(len(x) * sizes[1] * sizes[2] > 1)
        layer = SpikingNeuron(Neuron(), steps)
        given = [x.clone().requires_grad_(), *([added.clone().requires_grad_()] if residual else [])]
        if fuse:
            spikes = FusedNeuron(layer, norm, compiled)(*given)
        else:  # potentials in float32, as the fused layer keeps them
            spikes = layer(norm(given[0].float()) + sum(each.float() for each in given[1:])).to(dtype)
        found.append([spikes, *torch.autograd.grad((spikes * seen).float().sum(), [*given, norm.weight, norm.bias])])
    flips = (found[0][0] != found[1][0]).double().mean().item()
    pairs = zip(found[0][1:], found[1][1:], strict=True)
    apart = max(((a - b).abs().max() / a.abs().max().clamp_min(1e-6)).item() for a, b in pairs)
    return flips, apart


if __name__ == "__main__":
    main()
