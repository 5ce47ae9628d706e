from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch

from idsnn_convert.passes.load.unwrap import NESTS, find_state, plain_names
from idsnn_convert.runtime.errors import UserError

W, V = torch.ones(2), torch.zeros(3)
STATE = {"conv1.weight": W, "layer1.0.bn1.bias": V}
OPTIMISER = {"state": {0: {"momentum_buffer": W}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        {"best": {"net": STATE}, "epoch": 3},
        {"state_dict": STATE, "best_prec1": 91.7, "mean": W},
        {"model": {"state_dict": STATE}, "optimizer": OPTIMISER},
        {"optimizer_state_dict": OPTIMISER, "my_weights": STATE},
        *({key: STATE, "optimizer": OPTIMISER} for key in NESTS),
    ],
)
def test_the_state_dict_is_found(content: Any) -> None:
    state = find_state(content)
    assert state.tensors.keys() == STATE.keys()
    assert state.keys == {name: name for name in STATE}
    assert state.notes == ()


def test_averaged_weights_are_preferred_and_it_is_said() -> None:
    state = find_state({"state_dict": {"a.weight": W, "b.weight": W}, "state_dict_ema": STATE})
    assert state.tensors.keys() == STATE.keys()
    assert state.notes == (
        "The file holds weights under 'state_dict_ema' and 'state_dict'; those under 'state_dict_ema' were read.",
    )


def test_a_layer_of_the_name_of_a_nest_is_no_nest() -> None:
    assert find_state({**STATE, "model": {"x": W}}).tensors.keys() == STATE.keys()


def test_what_is_no_tensor_is_listed() -> None:
    state = find_state({**STATE, "layer1._extra_state": OrderedDict(), "epoch": 3})
    assert state.unread == {"layer1._extra_state": "no tensor but a dict of 0", "epoch": "no tensor but an int"}


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone.", "net.module.", "anything.", "student.model."],
)
def test_prefixes_of_all_names_are_stripped(prefix: str) -> None:
    keys = [prefix + name for name in ("conv1.weight", "layer1.0.bn1.bias", "fc.weight")]
    assert plain_names(keys) == dict(zip(("conv1.weight", "layer1.0.bn1.bias", "fc.weight"), keys, strict=True))


def test_a_wrapper_around_all_but_the_head_is_stripped() -> None:
    keys = ["module.backbone.conv1.weight", "module.backbone.layer1.0.bn1.bias", "module.head.weight"]
    assert list(plain_names(keys)) == ["conv1.weight", "layer1.0.bn1.bias", "head.weight"]


def test_a_prefix_stays_where_two_names_would_become_one() -> None:
    keys = ["model.fc.weight", "fc.weight", "model.conv1.weight"]
    assert list(plain_names(keys)) == keys


@pytest.mark.parametrize("keys", [["fc.weight", "fc.bias"], ["stem.conv.weight", "s1.b1.f.a.weight"], ["conv1.weight"], []])
def test_names_without_a_wrapper_stay(keys: list[str]) -> None:
    assert list(plain_names(keys)) == keys


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "it holds a list, not a dict of tensors"),
        (W, "it holds a tensor"),
        (None, "it holds a NoneType"),
        ({}, "its keys are none"),
        ({"optimizer": OPTIMISER, "epoch": 3}, r"its keys are optimizer \(a dict of 2\), epoch \(an int\)"),
        ({"generator": STATE, "discriminator": STATE}, r"no weights were found.*generator \(a dict of 2\)"),
    ],
)
def test_content_without_weights_is_described(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_state(content)


def test_a_dict_that_holds_itself_ends() -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    with pytest.raises(UserError, match="no weights were found"):
        find_state(content)


def test_dicts_that_share_what_they_hold_are_looked_into_once() -> None:
    value: dict[str, Any] = {}
    for _ in range(8):
        value = {str(k): value for k in range(100)}
    with pytest.raises(UserError, match="no weights were found"):
        find_state({"a": value, "b": 3})


def test_a_dict_that_holds_itself_is_told() -> None:
    value: dict[str, Any] = {"x": 1}
    value["state_dict"] = value
    with pytest.raises(UserError, match="no weights were found"):
        find_state(value)


def test_a_name_without_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"^'module\.module.*\.\.\. is a name of 350,006 characters; at most 1,000"):
        find_state({"module." * 50_000 + "weight": torch.ones(1), "a.b": torch.ones(1)})


def test_too_many_tensors_are_refused() -> None:
    with pytest.raises(UserError, match="it holds 20,001 tensors; at most 20,000 are read"):
        find_state({f"a.{k}": torch.ones(1) for k in range(20_001)})
