from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.runtime import modules
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Attr

X = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1))

ONE: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]] = {
    "global average": (modules.GlobalAvgPool(), lambda x: F.adaptive_avg_pool2d(x, 1)),
    "complement": (modules.Complement(), lambda x: 1 - x),
    "pad": (modules.Pad((1, 0, 2, 1), "constant", 0.5), lambda x: F.pad(x, (1, 0, 2, 1), value=0.5)),
    "pad channels": (modules.Pad((0, 0, 0, 0, 2, 3), "constant", 0.0), lambda x: F.pad(x, (0, 0, 0, 0, 2, 3))),
    "reflect": (modules.Pad((1, 1, 2, 2), "reflect", 0.0), lambda x: F.pad(x, (1, 1, 2, 2), "reflect")),
    "slice": (modules.Slice(2, 1, 5, 2), lambda x: x[:, :, 1:5:2]),
    "reshape": (modules.Reshape((20, 6)), lambda x: x.view(3, 20, 6)),
    "permute": (modules.Permute((3, 1, 2)), lambda x: x.permute(0, 3, 1, 2)),
    "sum": (modules.Sum(1), lambda x: x.sum(1)),
}


@pytest.mark.parametrize(("module", "wanted"), ONE.values(), ids=ONE)
def test_modules_of_one_input(module: nn.Module, wanted: Callable[[Tensor], Tensor]) -> None:
    torch.testing.assert_close(module(X), wanted(X))


def test_modules_of_several_inputs() -> None:
    torch.testing.assert_close(modules.Add()(X, Y, Y), X + Y + Y)
    torch.testing.assert_close(modules.Mul()(X, Y), X * Y)
    torch.testing.assert_close(modules.Concat()(X, Y), torch.cat((X, Y), 1))


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": F.elu,
    "silu": F.silu,
    "gelu": F.gelu,
    "hardswish": F.hardswish,
}


def test_activations_by_kind() -> None:
    assert set(KINDS) == set(modules.ACTIVATIONS)
    for kind, wanted in KINDS.items():
        torch.testing.assert_close(modules.activation({"kind": kind, "slope": 0.2})(X), wanted(X))
    with pytest.raises(UserError, match="unknown activation 'tanh'"):
        modules.activation({"kind": "tanh"})


def test_gates_by_kind() -> None:
    torch.testing.assert_close(modules.gate({"kind": "sigmoid"})(X), X.sigmoid())
    torch.testing.assert_close(modules.gate({"kind": "hard_sigmoid"})(X), F.hardsigmoid(X))
    torch.testing.assert_close(modules.gate({"kind": "softmax", "dim": 1})(X), X.softmax(1))
    with pytest.raises(UserError, match="unknown gate 'step'"):
        modules.gate({"kind": "step"})


def test_pools_by_their_attributes() -> None:
    window: dict[str, Attr] = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 1), "ceil_mode": True}
    longest = modules.max_pool({**window, "dilation": (1, 2)})
    torch.testing.assert_close(longest(X), F.max_pool2d(X, (3, 2), (2, 1), (1, 1), (1, 2), ceil_mode=True))
    mean = modules.avg_pool({**window, "count_include_pad": False})
    torch.testing.assert_close(mean(X), F.avg_pool2d(X, (3, 2), (2, 1), (1, 1), ceil_mode=True, count_include_pad=False))


def test_a_timed_dropout_drops_the_same_values_at_every_step() -> None:
    drop = modules.Dropout(0.25).train()
    drop.timed, drop.time_steps, drop.seed = True, 3, 7
    x = torch.ones(3 * 50, 40)
    steps = drop(x).unflatten(0, (3, 50))
    assert torch.equal(steps[0], steps[1])
    assert torch.equal(steps[0], steps[2])
    assert set(steps.unique().tolist()) == {0.0, float(torch.ones(()) / 0.75)}
    assert 0.7 < (steps > 0).float().mean() < 0.8
    assert torch.equal(drop(x), steps.flatten(0, 1))
    drop.seed = 8
    assert not torch.equal(drop(x), steps.flatten(0, 1))
    assert torch.equal(drop.eval()(x), x)


def test_a_dropout_of_everything_gives_zeros() -> None:
    drop = modules.Dropout(1.0).train()
    drop.timed = True
    assert not drop(torch.ones(2, 3)).any()


def test_a_dropout_without_time_is_torchs() -> None:
    x = torch.ones(100, 10)
    torch.manual_seed(0)
    ours = modules.Dropout(0.5).train()(x)
    torch.manual_seed(0)
    assert torch.equal(ours, F.dropout(x, 0.5))
