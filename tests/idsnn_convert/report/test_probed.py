from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.report.probed import LARGEST, NAME, Probed, read_probed, write_probed
from idsnn_convert.runtime.errors import UserError

STEPS = 2


def made(**changes: Any) -> Probed:
    """What was measured of a network with two neuron layers on two classes."""
    joules = {"horowitz-45nm-fp32": 2e-6, "loihi": None}
    points = [
        {"time_steps": t, "top1_percent": 40.0 + t, "effective_macs": 5.0, "effective_acs": 100.0 * t, "joules": joules}
        for t in (1, 2)
    ]
    layers = [{"name": "stem.conv", "spiking": False, "density": 1.0, "operations": 5.0}]
    trace = {"name": "stem.lif", "shape": [4, 2, 2], "v_threshold": 0.5, "rate": 0.25, "neurons": [3, 7]}
    trace |= {"potentials": [[0.2, 0.7], [0.1, 0.1]], "spikes": [[False, True], [False, False]]}
    answers = [{"label": 1, "name": "cat", "per_step": [0.4, 0.9]}, {"label": 0, "name": "dog", "per_step": [0.6, 0.1]}]
    facts = {
        "checkpoint": "best.safetensors",
        "sha256": "0" * 64,
        "epoch": 2,
        "data": "cifar10",
        "images": 12,
        "normalisation": "cifar10",
        "seed": 0,
        "time_steps": STEPS,
        "top1_percent": 42.0,
        "loss": 1.5,
        "class_names": ["dog", "cat"],
        "confusion": [[4, 2], [5, 1]],
        "firing": [{"name": "stem.lif", "shape": [4, 2, 2], "rate": 0.25, "silent": 0.5, "constant": 0.0}],
        "energy": {
            "images": 12,
            "layers": layers,
            "points": points,
            "dense_macs": 50,
            "dense_joules": {"horowitz-45nm-fp32": 4e-6, "loihi": None},
        },
        "image": {"index": 7, "label": 0, "png": "iVBORw0KGgo=", "answers": answers, "layers": [trace]},
        "teacher": {"file": "resnet32.th", "sha256": "1" * 64, "top1_percent": 92.5, "images": 24},
        "versions": {"torch": "2.13.0"},
        **changes,
    }
    return Probed.model_validate(facts)


def test_what_is_written_is_read() -> None:
    assert read_probed(Path()) is None
    assert write_probed(Path(), made()) == Path(NAME)
    assert read_probed(Path()) == made()
    assert made().class_name(1) == "cat"
    assert made(class_names=[]).class_name(1) == "1"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no probe of a run: Invalid JSON"),
        (b"\xff\xfe", "is no probe of a run"),
        (b"{}", "checkpoint: Field required"),
        (json.dumps({**made().model_dump(), "format_version": 2}).encode(), "format_version: Input should be 1"),
        (json.dumps({**made().model_dump(), "top1_percent": 101.0}).encode(), "less than or equal to 100"),
        (b" " * (LARGEST + 1), "at most"),
    ],
)
def test_another_file_of_that_name_is_refused(content: bytes, told: str) -> None:
    Path(NAME).write_bytes(content)
    with pytest.raises(UserError, match=told) as error:
        read_probed(Path())
    assert "idsnn report" in (error.value.hint or "")


def test_an_image_can_be_no_markup() -> None:
    with pytest.raises(ValueError, match="pattern"):
        made(image={**made().model_dump()["image"], "png": '"><script>'})
