from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.normalisation import KNOWN, Normalisation, candidates, from_json, measured, parse

PIXELS = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)


def test_by_hand_channel_by_channel() -> None:
    found = Normalisation("test", (0.0, 0.1, 0.5), (1.0, 0.5, 0.25))(PIXELS)
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == pytest.approx([0, (0.2 - 0.1) / 0.5, (1 - 0.5) / 0.25])


def test_one_value_stands_for_every_channel() -> None:
    assert KNOWN["half"](PIXELS).flatten().tolist() == pytest.approx([-1, -0.6, 1])
    assert torch.equal(KNOWN["none"](PIXELS), PIXELS / 255)


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(UserError, match="normalisation 'imagenet' is for 3 channels, the images have 1"):
        KNOWN["imagenet"](PIXELS[:, :1])


@pytest.mark.parametrize("name", KNOWN)
def test_json_and_back(name: str) -> None:
    assert from_json(json.loads(json.dumps(KNOWN[name].to_json()))) == KNOWN[name]


GOOD = {"name": "test", "mean": [0.5], "std": [0.25]}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "an object with name, mean and std, not None"),
        ({**GOOD, "name": 3}, "an object with name"),
        ({**GOOD, "mean": 0.5}, "'test': mean must be a list of numbers, not 0.5"),
        ({**GOOD, "std": ["1"]}, "std must be a list of numbers"),
        ({**GOOD, "std": [True]}, "std must be a list of numbers"),
        ({**GOOD, "mean": []}, "0 means and 1 deviations"),
        ({**GOOD, "mean": [1, 2]}, "2 means and 1 deviations"),
        ({**GOOD, "std": [0]}, "deviations must be above 0"),
        ({**GOOD, "std": [math.inf]}, "deviations must be above 0 and finite"),
        ({**GOOD, "mean": [math.nan]}, "means must be finite"),
    ],
)
def test_json_of_another_form_is_refused(value: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        from_json(value)


def test_candidates_suit_the_channels() -> None:
    assert [found.name for found in candidates(1)] == ["fashion-mnist", "half", "none"]
    assert [found.name for found in candidates(3)] == ["imagenet", "cifar10", "cifar10-kuangliu", "cifar100", "half", "none"]


def test_parse_takes_a_name_or_numbers() -> None:
    assert parse("imagenet") is KNOWN["imagenet"]
    found = parse("0.1,0.2,0.3/0.4, 0.5,0.6")
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert parse("0.5/0.25").fits(3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cifar-10", r"unknown normalisation 'cifar-10'\nDid you mean 'cifar10'\?"),
        ("zzz", r"unknown normalisation 'zzz'\nGive MEANS/DEVIATIONS"),
        ("0.5/", "not two lists of numbers"),
        ("0.5/a", "not two lists of numbers"),
        ("0.5/0.5/0.5", "not two lists of numbers"),
        ("0.5/0", "deviations must be above 0"),
        ("0.5,0.5/0.5", "2 means and 1 deviations"),
        ("125.3,123.0,113.9/63.0,62.1,66.7", "pixels from 0 to 1\nDivide them by 255"),
    ],
)
def test_parse_refuses_what_is_neither(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse(text)


def test_measured_is_the_mean_and_deviation_of_all_pixels_however_they_are_batched() -> None:
    images = torch.randint(0, 256, (30, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = measured(images.split(7))
    assert found == measured([images])
    pixels = images.double() / 255
    assert found.name == "measured"
    assert found.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert found.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_a_channel_of_one_value_can_be_normalised_and_no_images_cannot() -> None:
    assert measured([torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)]) == Normalisation("measured", (0.2,), (1.0,))
    with pytest.raises(UserError, match="no images to measure"):
        measured([])
