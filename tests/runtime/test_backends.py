from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from idsnn_convert.runtime import backends
from idsnn_convert.runtime.backends import CPU_KERNELS, CUDA_KERNELS, chosen
from idsnn_convert.runtime.eager import eager_kernels
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.kernels import kernels
from idsnn_convert.runtime.native_kernels import native_kernels
from idsnn_convert.runtime.neurons import Neuron

ON_GPU: Any = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16)


@pytest.mark.parametrize("there", [True, False])
def test_plain_or_compiled_on_a_cpu(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUDA_KERNELS, "triton")  # of GPUs alone
    monkeypatch.setattr(backends, "available", lambda: there)
    x = torch.zeros(1)
    inductors = kernels(Neuron(), 4, True, torch.float32, None, False)
    assert chosen(Neuron(), 4, x, False) is eager_kernels(Neuron(), 4, False)
    assert chosen(Neuron(), 4, x, True) is (native_kernels(Neuron(), 4, False) if there else inductors)
    assert chosen(Neuron(), 4, x.double(), True) is kernels(Neuron(), 4, True, torch.float64, None, False)
    smooth = Neuron(surrogate="sigmoid")
    assert chosen(smooth, 4, x, True) is kernels(smooth, 4, True, torch.float32, None, False)
    monkeypatch.setenv(CPU_KERNELS, "inductor")
    assert chosen(Neuron(), 4, x, True) is inductors
    monkeypatch.setenv(CPU_KERNELS, "numba")
    with pytest.raises(UserError, match="IDSNN_CPU_KERNELS is 'numba'\nKnown: native, inductor"):
        chosen(Neuron(), 4, x, True)


def test_the_variable_says_who_makes_them_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("triton_kernels")
    module.triton_kernels = lambda neuron, steps, carries: ("by hand", neuron, steps, carries)
    monkeypatch.setitem(sys.modules, "idsnn_convert.runtime.triton_kernels", module)
    monkeypatch.delenv(CUDA_KERNELS, raising=False)
    assert chosen(Neuron(), 4, ON_GPU, True) is kernels(Neuron(), 4, True, torch.bfloat16, None, False)
    monkeypatch.setenv(CUDA_KERNELS, "triton")
    found: Any = chosen(Neuron(), 4, ON_GPU, True)
    assert found == ("by hand", Neuron(), 4, False)
    assert chosen(Neuron(), 4, ON_GPU, False) is eager_kernels(Neuron(), 4, False)


def test_those_that_carry_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_KERNELS, "inductor")
    x = torch.zeros(1)
    for compiled, made in (
        (False, eager_kernels(Neuron(), 4, True)),
        (True, kernels(Neuron(), 4, True, torch.float32, None, True)),
    ):
        assert chosen(Neuron(), 4, x, compiled, carries=True) is made
        assert chosen(Neuron(), 4, x, compiled) is not made


def test_a_maker_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUDA_KERNELS, "cupy")
    with pytest.raises(UserError, match="IDSNN_CUDA_KERNELS is 'cupy'\nKnown: inductor, triton"):
        chosen(Neuron(), 4, ON_GPU, True)
