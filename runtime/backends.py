"""Who makes the kernels of a fused layer: plain PyTorch, torch.compile, or by hand in Triton."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from idsnn_convert.runtime.eager import eager_kernels
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.kernels import Kernels, kernels
from idsnn_convert.runtime.neurons import Neuron

CUDA_KERNELS = "IDSNN_CUDA_KERNELS"
"""Environment variable: who makes the compiled kernels on a GPU, one of :data:`MAKERS`; inductor if it is not set."""

MAKERS = ("inductor", "triton")


def chosen(
    neuron: Neuron, time_steps: int, x: Tensor, compiled: bool, code: torch.dtype | None = None, carries: bool = False
) -> Kernels:
    """The functions for ``neuron`` over T steps, for maps of the type and device of ``x``; ``code`` is that of the spikes,
    ``carries`` whether potentials are.

    Raises:
        UserError: if IDSNN_CUDA_KERNELS names none of :data:`MAKERS`.
    """
    if not compiled:
        return eager_kernels(neuron, time_steps, carries)
    if x.is_cuda and by_hand():
        from idsnn_convert.runtime.triton_kernels import triton_kernels

        return triton_kernels(neuron, time_steps, carries)
    return kernels(neuron, time_steps, True, x.dtype, code, carries)


def by_hand() -> bool:
    """Whether the kernels on a GPU are to be those of :mod:`idsnn_convert.runtime.triton_kernels`."""
    maker = os.environ.get(CUDA_KERNELS, MAKERS[0])
    if maker not in MAKERS:
        raise UserError(f"{CUDA_KERNELS} is {maker!r}", hint=f"Known: {', '.join(MAKERS)}.")
    return maker == "triton"
