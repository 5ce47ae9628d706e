from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from idsnn_convert.report.html import compact, mapping_page, repeats_told
from idsnn_convert.report.markup import PLAIN
from idsnn_convert.report.record import Record
from tests.idsnn_convert.report.conftest import HOSTILE


class Reader(HTMLParser):
    """Tags and visible text; unclosed or stray ends are noticed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag not in PLAIN:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def test_the_page_tells_coverage_tensors_reasons_and_how_to_repeat_it(record: Record) -> None:
    text = Reader(mapping_page(record)).text
    for told in (
        "resnet(2-1-2 basic) → spiking resnet8",
        f"{record.coverage.percent_of_parameters:g} % of the student's values",
        "no target block takes stage1.block1, stage3.block1 under the relative rule",
        "Shortcuts that change shape skip pixels",
        "one neuron per activation site: 7 neurons",
        str(record.command),
        record.teacher.sha256,
    ):
        assert told in text
    assert [row.target for row in record.tensors if row.target not in text] == []
    assert [row.source for row in record.unused if row.source not in text] == []


def test_hostile_names_are_text(hostile: Record, record: Record) -> None:
    page = mapping_page(hostile)
    read, plain = Reader(page), Reader(mapping_page(record))
    assert "img" not in read.tags
    assert "b" in read.tags
    assert read.tags.count("script") == plain.tags.count("script") == 2
    assert not re.search("[\x1b\u202e]", page)
    assert HOSTILE.splitlines()[0].replace("\x1b", "\\x1b") in read.text


def test_the_script_reads_what_the_record_says(record: Record) -> None:
    inside = re.search(r'id="record">(.*?)</script>', mapping_page(record))
    assert inside
    found = json.loads(inside[1])
    assert found["tensors"] == record.model_dump()["tensors"]
    assert {"stages", "pairs", "unused", "neurons"} <= found.keys()


def test_cautions_and_failed_checks_stand_at_the_top(record: Record) -> None:
    neurons = next(check for check in record.checks if check.name == "one neuron per activation site")
    check = {**neurons.model_dump(), "passed": False}
    facts = {**record.model_dump(), "cautions": [{"reason": "3 are silu", "advice": "Train."}], "checks": [check]}
    header = mapping_page(Record.model_validate(facts)).partition("</header>")[0]
    assert "3 are silu. Train." in header
    assert "one neuron per activation site: 7 neurons, wanted 7 sites" in header


def test_a_network_of_unknown_origin_has_a_page(record: Record) -> None:
    bare = record.model_copy(update={"tensors": [], "unused": [], "student": None, "command": None})
    text = Reader(mapping_page(bare)).text
    assert "does not tell where its tensors came from" in text


def test_the_notebooks_table(record: Record, hostile: Record) -> None:
    read = Reader(compact(record))
    assert read.tags.count("tr") == 1 + 5
    assert "stage2.block0" in read.text
    assert "img" not in Reader(compact(hostile)).tags


def test_repeats() -> None:
    times = "\N{MULTIPLICATION SIGN}"
    assert repeats_told([4, 2]) == f"output channels {times}4, input channels {times}2"
    assert repeats_told([1, 1]) == repeats_told(None) == ""


def test_the_page_of_the_largest_network_is_small_enough_to_mail(largest: Record) -> None:
    assert (len(largest.tensors), len(largest.unused)) == (267, 517)  # as of the real ones, but for 150 counters of batches
    page = mapping_page(largest)
    assert len(page.encode()) < 2_000_000
    Reader(page)
