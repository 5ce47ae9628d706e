from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.api import converted
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.resnet.spec import Stem
from idsnn_convert.report.build import recorded
from idsnn_convert.report.record import Record
from idsnn_convert.runtime.checkpoint import Checkpoint, read
from tests.passes import made

HOSTILE = '</script><img src=x onerror="document.title=1">|`../../x`\x1b[31m\n\u202e<b>'
"""A name that would be markup, a path, an escape sequence, or a second line."""


@pytest.fixture(scope="session")
def checkpoint(student: Path) -> Checkpoint:
    return read(student)


@pytest.fixture(scope="session")
def record(checkpoint: Checkpoint, student: Path) -> Record:
    return recorded(checkpoint, student)


@pytest.fixture(scope="session")
def hostile(record: Record) -> Record:
    """The record with :data:`HOSTILE` for every name and reason that a file can choose."""
    facts = record.model_dump()
    for row in facts["tensors"]:
        row["target"] += HOSTILE
        row["source"] = None if row["source"] is None else row["source"] + HOSTILE
        row["reason"] += HOSTILE if row["reason"] else ""
    for row in facts["unused"]:
        row["source"] += HOSTILE
        row["reason"] += HOSTILE
    for row in facts["neurons"]:
        row["name"] += HOSTILE
        row["source"] = row["teacher"] = HOSTILE
    facts["balance"] = {
        **dict.fromkeys(("rule", "encoder", "data"), HOSTILE),
        **dict.fromkeys(("steps", "images", "seed"), 3),
        "images_sha256": "0" * 64,
        "thresholds": [{"neuron": HOSTILE, "v_threshold": 1.5, "unit": 2.0}],
        "scaled": [HOSTILE],
        "curve": {"images": 5, "ann_top1": 80.0, "steps": [1, 10, 25], "top1": [10.0, 60.0, 80.0]},
    }
    facts["cautions"] = [dict.fromkeys(("reason", "node", "source", "advice"), HOSTILE)]
    facts["teacher"] |= {**dict.fromkeys(("file", "family", "arch", "form"), HOSTILE), "assumptions": [HOSTILE]}
    facts["student"]["name"] = facts["command"] = facts["target"] = HOSTILE
    return Record.model_validate(facts)


@pytest.fixture(scope="session")
def largest() -> Record:
    """ResNet-152 to ResNet-50 with every tensor of the real ones, at an eighth of their channels."""
    stem = Stem(8, kernel=7, stride=2, padding=3, pool=True)
    widths, outputs = (8, 16, 32, 64), (32, 64, 128, 256)
    spec = made.spec((3, 8, 36, 3), widths, outputs=outputs, stem=stem, block="bottleneck", input_size=64, classes=1000)
    checkpoint = converted(made.teacher(spec), "resnet50", Settings(), width=0.125)
    return recorded(checkpoint)
