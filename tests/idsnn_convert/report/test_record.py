from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from idsnn_convert.report import record as module
from idsnn_convert.report.record import Record, schema

SCHEMA = Path(module.__file__).with_name("mapping.schema.json")


def test_the_schema_beside_it_is_the_records() -> None:
    wanted = json.dumps(schema(), indent=2) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == wanted, "write it anew: it is json.dumps(schema(), indent=2)"


def test_the_schema_names_every_part_and_closes_each() -> None:
    found = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert found["properties"]["format_version"]["const"] == 1
    parts = {**found["$defs"], "Record": found}
    assert {"Tensor", "Unused", "Pair", "Neuron", "Check"} <= parts.keys()
    assert [name for name, part in parts.items() if part["additionalProperties"]] == []
    assert "before any training" in parts["Tensor"]["properties"]["sha256"]["description"]


def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    assert Record.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format_version",), 2),
        (("kind",), "checkpoint"),
        (("tensors", 0, "status"), "good"),
        (("tensors", 0, "sha256"), "ab"),
        (("tensors", 0, "target_shape"), [-1]),
        (("tensors", 0, "histogram", "low"), float("nan")),
        (("pairs", 0, "more"), 1),
        (("time_steps",), "4"),
    ],
)
def test_what_is_no_record_is_refused(record: Record, place: tuple[str | int, ...], value: object) -> None:
    facts = record.model_dump()
    at = facts
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    with pytest.raises(ValidationError):
        Record.model_validate(facts)
