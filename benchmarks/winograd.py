"""3x3 convolutions of stride 1 by Winograd's algorithm beside PyTorch's own: time and error, forward and both gradients.

    PYTHONPATH=. python benchmarks/winograd.py [--threads 2] [--rounds 15]

Inputs are spikes (a fifth of them 1), weights and gradients normal, all float32 and channels-last; both take turns in every
round, and the ratio is ours to PyTorch's: median, lowest, highest. The error is the norm of the difference to float64 by the
norm of the result, ours and PyTorch's. Whether a network would take ours there is told too. Writes
benchmarks/results/winograd_threadsN.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import facts, interleaved, show, summary, write
from torch import Tensor

from idsnn_convert.runtime.allocator import keep_memory
from idsnn_convert.runtime.winograd import convolve, input_gradient, pays, weight_gradient

SHAPES = [  # (frames, channels, height and width)
    *((128, channels, size) for channels, size in ((64, 32), (128, 16), (256, 8), (512, 4))),
    *((64, channels, size) for channels, size in ((16, 32), (32, 16), (64, 8))),
    *((4, channels, size) for channels, size in ((64, 32), (128, 16), (256, 8), (512, 4))),
    *((16, channels, size) for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7))),
    *((128, 128, size) for size in (3, 5, 6, 7)),
]
WAYS = ("forward", "input gradient", "weight gradient")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_memory()
    rows = {
        f"{count} x {channels} x {size} x {size}": measured(count, channels, size, args.rounds)
        for count, channels, size in SHAPES
    }
    write(f"winograd_threads{args.threads}", facts(**vars(args)) | {"to PyTorch's": rows})
    show(rows)


def measured(count: int, channels: int, size: int, rounds: int) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    last = {"memory_format": torch.channels_last}
    x = (torch.rand(count, channels, size, size, generator=draw) > 0.8).float().to(**last)
    weight = (torch.randn(channels, channels, 3, 3, generator=draw) / (9 * channels) ** 0.5).to(**last)
    grad = torch.randn(count, channels, size, size, generator=draw).to(**last)
    theirs = direct(x, weight, grad)
    ours = (lambda: convolve(x, weight), lambda: input_gradient(grad, weight), lambda: weight_gradient(x, grad, weight))
    exact = [step() for step in direct(x.double(), weight.double(), grad.double())]
    row: dict[str, Any] = {"taken": pays(count, size, size, 2 * channels)}
    for way, own, other, wanted in zip(WAYS, ours, theirs, exact, strict=True):
        seconds = interleaved({"ours": own, "theirs": other}, rounds, "wall")
        row[way] = summary(seconds, ("theirs",))["ours"]["to theirs"]
        row[f"{way}, errors"] = [float(f"{error(step(), wanted):.1e}") for step in (own, other)]
    return row


def direct(x: Tensor, weight: Tensor, grad: Tensor) -> list[Callable[[], Tensor]]:
    """PyTorch's own: forward, gradient of the input, of the weight."""

    def back(*wanted: bool) -> Tensor:
        found = torch.ops.aten.convolution_backward(
            grad, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [*wanted, False]
        )
        result: Tensor = found[wanted.index(True)]
        return result

    return [lambda: torch.conv2d(x, weight, padding=1), lambda: back(True, False), lambda: back(False, True)]


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


if __name__ == "__main__":
    main()
