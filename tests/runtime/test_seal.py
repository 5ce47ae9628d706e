"""The digest that stands in a description and finds damage to it and to its tensors."""

from __future__ import annotations

import json

import pytest
import torch

from idsnn_convert.runtime.seal import BLANK, broken, digest, sealed

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(0), "c": torch.tensor(True)}


def seal_of(text: str) -> object:
    return json.loads(text)["sha256"]


def test_what_was_sealed_is_whole_in_any_order_and_layout() -> None:
    text = sealed({"z": 1.5e-7, "name": "\u00fc"}, TENSORS)
    other = dict(reversed(TENSORS.items())) | {"a": torch.arange(6.0).view(2, 3).T.contiguous().T}
    assert not broken(text, seal_of(text), TENSORS)
    assert not broken(text, seal_of(text), other)
    assert sealed({"name": "\u00fc", "z": 1.5e-7}, other) == text
    assert json.loads(text) == {"z": 1.5e-7, "name": "\u00fc", "sha256": seal_of(text)}


@pytest.mark.parametrize(
    "changed",
    [
        {"a": torch.arange(6.0).view(2, 3) * (1 + 2**-23)},
        {"a": torch.arange(6.0).view(3, 2)},
        {"d": torch.zeros(0)},
    ],
)
def test_another_tensor_breaks_it(changed: dict[str, torch.Tensor]) -> None:
    text = sealed({}, TENSORS)
    assert broken(text, seal_of(text), TENSORS | changed)


def test_another_word_breaks_it() -> None:
    text = sealed({"epoch": 3}, TENSORS)
    assert broken(text.replace("3", "4", 1), seal_of(text), TENSORS)
    assert broken(text, None, TENSORS)


def test_a_description_that_quotes_a_blank_seal_is_not_mistaken_for_it() -> None:
    text = sealed({"a": f'"sha256":"{BLANK}"', "b": {"sha256": "another file's"}}, TENSORS)
    assert not broken(text, seal_of(text), TENSORS)


def test_bfloat16_has_a_digest_too() -> None:
    assert digest({"a": torch.ones(2, dtype=torch.bfloat16)}) != digest({"a": torch.zeros(2, dtype=torch.bfloat16)})
