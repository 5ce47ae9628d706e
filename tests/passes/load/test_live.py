from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from torch import nn

from idsnn_convert.passes.load import teacher_from_module
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from tests.passes import replicas


def test_a_live_module_is_a_teacher() -> None:
    module = replicas.network(replicas.Residual(8, 16, 2)).train()
    images = torch.randn(2, 3, 16, 16)
    teacher = teacher_from_module(module, input_shape=(3, 16, 16))
    assert (teacher.form, teacher.path, teacher.arch) == ("live module", "Sequential", "resnet(1)")
    assert teacher.family == "torch.nn.modules.container.Sequential"
    assert (teacher.classes, teacher.assumptions) == (5, ())
    assert {*teacher.keys.values(), *teacher.unread} == set(module.state_dict())
    assert module.training
    with torch.no_grad():
        torch.testing.assert_close(build(teacher.graph, teacher.tensors).eval()(images), module.eval()(images))
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in teacher.tensors.values()))
    assert teacher.sha256 == digest.hexdigest()
    with torch.no_grad():
        module[0][0].weight += 1
    again = teacher_from_module(module, input_shape=(3, 16, 16), name="mine")
    assert again.sha256 != teacher.sha256
    assert again.path == "mine"


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        ({"conv.weight": torch.ones(1)}, (3, 8, 8), "must be a torch.nn.Module, not dict"),
        (nn.Identity(), (8, 8), r"input_shape must be \(channels, height, width\), each at least 1, not \(8, 8\)"),
        (nn.Identity(), (3, 8, 0), "each at least 1"),
        (nn.Conv2d(4, 2, 3), (3, 8, 8), "Conv2d cannot be traced with inputs"),
    ],
)
def test_what_is_no_teacher_is_refused(module: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        teacher_from_module(module, input_shape=shape)
