from __future__ import annotations

import re

import pytest

from idsnn_convert.report.markdown import code, markdown, plain
from idsnn_convert.report.record import Record


def test_it_tells_what_the_terminal_tells_and_every_tensor(record: Record) -> None:
    told = markdown(record)
    for line in (
        "# resnet(2-1-2 basic) → spiking resnet8",
        "| stage2.block0 | stage2.block0 | 10 |  |  | 928 |",
        "| head | - |  |  | 2 | 170 |",
        "- fc.weight, fc.bias: the head stays fresh, as published",
        "- [x] one neuron per activation site: 7 neurons",
        f"    {record.command}",
    ):
        assert line in told.splitlines(), line
    for row in record.tensors:
        assert f"| `{row.target}` | " in told
    for left in record.unused:
        assert f"| `{left.source}` | " in told


def test_tables_have_equal_cells(hostile: Record) -> None:
    """Also with a | in every name."""
    rows = [line for line in markdown(hostile).splitlines() if line.startswith("|")]
    counts = {len(re.split(r"(?<!\\)\|", row)) for row in rows}
    assert counts == {8, 5, 4}
    assert not re.search("[\x1b\u202e]", markdown(hostile))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<img src=x> & [a](b) *c* _d_", r"\<img src=x\> \& \[a\](b) \*c\* \_d\_"),
        ("a`b``c\nd\x1b", r"a\`b\`\`c\\nd\\x1b"),
        ("see http://x.org @me #1", r"see http\://x.org \@me \#1"),
    ],
)
def test_text_of_any_origin_is_shown_as_it_is(text: str, told: str) -> None:
    assert plain(text) == told


@pytest.mark.parametrize(
    ("name", "told"),
    [("conv1.weight", "`conv1.weight`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("", ""), ("<b>\n", "`<b>\\n`")],
)
def test_code_is_fenced_longer_than_what_it_holds(name: str, told: str) -> None:
    assert code(name) == told
