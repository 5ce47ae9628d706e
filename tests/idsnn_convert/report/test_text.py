from __future__ import annotations

import io
import json
import sys

import pytest

from idsnn_convert.report.text import console as results
from idsnn_convert.report.text import heading, paragraph, print_json, reasons, safe, shown, table


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_foreign_text_is_one_line_neither_escape_nor_markup() -> None:
    assert shown("a\x1b[31m[red]\n\tb") == "a\\x1b[31m[red]\\n\\tb"
    assert safe("\x1b[31m[red]x") == "\\x1b[31m\\[red]x"


@pytest.mark.parametrize(
    ("stream", "environment", "plain"),
    [
        (Terminal(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, True),
        (io.StringIO(), {}, True),
    ],
)
def test_only_a_terminal_that_wants_colour_gets_it(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, environment: dict[str, str], plain: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    heading("a [b]")
    results().print("[red]c[/]")
    assert ("\x1b" not in stream.getvalue()) == plain
    assert "a [b]" in stream.getvalue()


def test_a_paragraph_hangs_behind_its_label_and_breaks_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    paragraph("some words, then a/very/long/path/that-fits/on-no-line/of/forty/columns and [more] words", "label  ", indent=1)
    assert capsys.readouterr().out.splitlines() == [
        " label  some words, then",
        "        a/very/long/path/that-fits/on-no-line/of/forty/columns",
        "        and [more] words",
    ]


def test_reasons_that_differ_in_the_block_alone_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    named = [(f"layer{s}.{b}.conv{c}", f"no block takes stage{s}.block{b}") for s in (1, 2) for b in (1, 3) for c in (1, 2)]
    reasons("Unused:", [*named, ("fc.weight", "fresh"), ("fc.bias", "fresh")])
    assert capsys.readouterr().out.splitlines() == [
        "Unused:",
        "  - 8 tensors (layer1.1.conv1, ...): no",
        "    block takes stage1.block1,3,",
        "    stage2.block1,3",
        "  - fc.weight, fc.bias: fresh",
        "",
    ]


def test_no_reasons_no_title(capsys: pytest.CaptureFixture[str]) -> None:
    reasons("Unused:", [])
    assert capsys.readouterr().out == ""


def test_json_is_one_document_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1, float("nan")], "b": {"c": float("inf"), "d": (1.5, "x")}})
    assert json.loads(capsys.readouterr().out) == {"a": [1, None], "b": {"c": None, "d": [1.5, "x"]}}


def test_numbers_stand_on_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    made = table("name", "count", numbers=("count",))
    made.add_row("a", "1")
    results().print(made)
    assert capsys.readouterr().out.splitlines()[-1] == "a          1"


def rows(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    made = table("layer", "what it is for", "values", numbers=("values",))
    made.add_row("stage1.block0.lif1", "to fire when it must", "1,234,567")
    made.add_row("[bold]head[/]", "", "12")
    results().print(made)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_table_wraps_between_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(50, monkeypatch, capsys)
    assert [line.split() for line in found[2:]] == [
        ["stage1.block0.lif1", "to", "fire", "when", "it", "1,234,567"],
        ["must"],
        ["head", "12"],
    ]
    assert max(map(len, found)) <= 50


def test_a_table_too_wide_for_its_words_is_one_row_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(34, monkeypatch, capsys)
    assert found == [
        "layer stage1.block0.lif1",
        "  what it is for to fire when it",
        "  must, values 1,234,567",
        "layer head",
        "  values 12",
    ]


def test_a_long_label_leaves_the_lines_below_it_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    paragraph("one two three four five", "the same network without spikes: ")
    assert capsys.readouterr().out == "the same network without spikes: one two\n  three four five\n"
