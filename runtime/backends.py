"""Who makes the kernels of a fused layer: plain PyTorch, torch.compile, or by hand in C++ for CPUs and in Triton for GPUs."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from idsnn_convert.runtime.eager import eager_kernels
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.kernels import Kernels, kernels
from idsnn_convert.runtime.native_kernels import available, has, native_kernels
from idsnn_convert.runtime.neurons import Neuron

CUDA_KERNELS = "IDSNN_CUDA_KERNELS"
"""Environment variable: who makes the compiled kernels on a GPU, one of :data:`MAKERS`; inductor if it is not set."""

MAKERS = ("inductor", "triton")

CPU_KERNELS = "IDSNN_CPU_KERNELS"
"""Environment variable: who makes them on a CPU, one of :data:`CPU_MAKERS`; native if it is not set, and inductor what that has
not."""

CPU_MAKERS = ("native", "inductor")


def chosen(
    neuron: Neuron, time_steps: int, x: Tensor, compiled: bool, code: torch.dtype | None = None, carries: bool = False
) -> Kernels:
    """The functions for ``neuron`` over T steps, for maps of the type and device of ``x``; ``code`` is that of the spikes,
    ``carries`` whether potentials are.

    Raises:
        UserError: if IDSNN_CUDA_KERNELS or IDSNN_CPU_KERNELS names none that there is.
    """
    if not compiled:
        return eager_kernels(neuron, time_steps, carries)
    if x.is_cuda and by_hand():
        from idsnn_convert.runtime.triton_kernels import triton_kernels

        return triton_kernels(neuron, time_steps, carries)
    if not x.is_cuda and _maker(CPU_KERNELS, CPU_MAKERS) == "native" and has(neuron, x.dtype) and available():
        return native_kernels(neuron, time_steps, carries)
    return kernels(neuron, time_steps, True, x.dtype, code, carries)


def by_hand() -> bool:
    """Whether the kernels on a GPU are to be those of :mod:`idsnn_convert.runtime.triton_kernels`."""
    return _maker(CUDA_KERNELS, MAKERS) == "triton"


def _maker(variable: str, known: tuple[str, ...]) -> str:
    maker = os.environ.get(variable, known[0])
    if maker not in known:
        raise UserError(f"{variable} is {maker!r}", hint=f"Known: {', '.join(known)}.")
    return maker
