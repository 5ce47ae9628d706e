from __future__ import annotations

import json
from pathlib import Path

import pytest

from idsnn_convert.report.record import Record
from idsnn_convert.report.write import check_places, write_reports
from idsnn_convert.runtime.errors import UserError

NAMES = ("a.html", "a.md", "a.json")


def test_each_ending_has_its_form_and_a_report_may_be_written_over(record: Record) -> None:
    places = [Path(name) for name in NAMES]
    for _ in range(2):
        check_places(places)
        write_reports(record, places)
    assert places[0].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert places[1].read_text(encoding="utf-8").startswith("<!-- idsnn-convert")
    assert Record.model_validate_json(places[2].read_text(encoding="utf-8")) == record
    assert sorted(Path().iterdir()) == sorted(places)


def test_json_has_a_tensor_a_line(record: Record) -> None:
    write_reports(record, [Path("a.json")])
    lines = Path("a.json").read_text(encoding="utf-8").splitlines()
    assert sum('"target_shape"' in line for line in lines) == len(record.tensors)


def test_hostile_names_are_whole_in_json_and_harmless_to_a_terminal(hostile: Record) -> None:
    write_reports(hostile, [Path("a.json")])
    text = Path("a.json").read_text(encoding="utf-8")
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["target"] == hostile.target


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_report_is_left_alone(name: str) -> None:
    Path(name).write_text('{"mine": true}')
    with pytest.raises(UserError, match="exists and is no report"):
        check_places([Path(name)])


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (["a.pdf"], "no report ends in '.pdf'\nKnown: .html, .md, .json"),
        (["a"], "no report ends in ''"),
        (["nowhere/a.html"], "the folder nowhere does not exist"),
        (["folder.md"], "folder.md is a folder"),
        (["a.md", "./a.md"], "named twice"),
        (["taken.json"], "a file the command needs"),
    ],
)
def test_a_place_that_cannot_be_is_refused(places: list[str], told: str) -> None:
    Path("folder.md").mkdir()
    with pytest.raises(UserError) as caught:
        check_places([Path(place) for place in places], [Path("taken.json")])
    assert told in str(caught.value)
