"""The optimisers of a recipe: which, with which settings, and whose weights decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.optimizers import OPTIMIZERS, make_optimizer
from idsnn_convert.runtime.recipe import Optimizer


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def stepped(settings: Optimizer, steps: int = 1) -> nn.Linear:
    module = layer()
    optimizer = make_optimizer(module.parameters(), settings)
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    return module


def test_every_name_a_recipe_may_use_is_in_the_table() -> None:
    assert OPTIMIZERS.keys() == set(Optimizer.model_fields["name"].annotation.__args__)


@pytest.mark.parametrize(("name", "kind"), [("sgd", optim.SGD), ("adam", optim.Adam), ("adamw", optim.AdamW)])
def test_names_and_settings(name: str, kind: type) -> None:
    made = make_optimizer(layer().parameters(), Optimizer(name=name, lr=0.01, momentum=0.8, beta2=0.95, eps=1e-6))
    assert type(made) is kind
    group = made.param_groups[0]
    assert group["lr"] == 0.01
    if name == "sgd":
        assert group["momentum"] == 0.8
    else:
        assert (group["betas"], group["eps"]) == ((0.8, 0.95), 1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_reaches_all_or_matrices_alone(name: str) -> None:
    plain = stepped(Optimizer(name=name, weight_decay=0.0), 2)
    spared = stepped(Optimizer(name=name, weight_decay=0.5, decay_norm_and_bias=False), 2)
    reached = stepped(Optimizer(name=name, weight_decay=0.5), 2)
    assert not torch.equal(plain.weight, spared.weight)
    assert not torch.equal(plain.bias, reached.bias)
    once = {
        0.5: stepped(Optimizer(name=name, weight_decay=0.5, decay_norm_and_bias=False)),
        0.0: stepped(Optimizer(name=name, weight_decay=0.0)),
    }
    assert torch.equal(once[0.5].bias, once[0.0].bias)


def test_scalars_never_decay() -> None:
    scalar, vector = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.ones(3))
    groups = make_optimizer([scalar, vector], Optimizer(weight_decay=0.5)).param_groups
    assert [(group["params"], group["weight_decay"]) for group in groups] == [([vector], 0.5), ([scalar], 0.0)]


def test_adamw_decays_the_weight_itself() -> None:
    settings = {"lr": 0.1, "weight_decay": 0.5}
    plain, decayed = stepped(Optimizer(name="adamw", lr=0.1, weight_decay=0.0)), stepped(Optimizer(name="adamw", **settings))
    assert torch.allclose(decayed.weight, plain.weight - 0.05 * layer().weight, atol=1e-7)


def test_what_does_not_learn_is_left_out() -> None:
    module = layer()
    module.bias.requires_grad_(False)
    assert [len(group["params"]) for group in make_optimizer(module.parameters(), Optimizer()).param_groups] == [1]


@pytest.mark.parametrize("settings", [{"name": "adam", "nesterov": True}, {"nesterov": True, "momentum": 0.0}])
def test_nesterov_goes_with_sgd_and_momentum(settings: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"optimizer\.nesterov goes with sgd and a momentum, not with \w+ and "):
        make_optimizer(layer().parameters(), Optimizer(**settings))
