from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.report.build import recorded
from idsnn_convert.report.record import Record
from idsnn_convert.runtime.checkpoint import Checkpoint, read

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
    facts["cautions"] = [dict.fromkeys(("reason", "node", "source", "advice"), HOSTILE)]
    facts["teacher"] |= {**dict.fromkeys(("file", "family", "arch", "form"), HOSTILE), "assumptions": [HOSTILE]}
    facts["student"]["name"] = facts["command"] = facts["target"] = HOSTILE
    return Record.model_validate(facts)
