from __future__ import annotations

import json
import re

from idsnn_convert.report.markup import Markup, data, joined, tag


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & \x1b[31m", tag("b", 1), None, ["c", tag("br")]) == ("<p>a &lt; b &amp; \\x1b[31m<b>1</b>c<br></p>")
    assert isinstance(joined("<", Markup("<hr>")), Markup)
    assert joined("<", Markup("<hr>")) == "&lt;<hr>"


def test_attributes() -> None:
    made = tag("g", class_="box on", data_key='"><script>', hidden=True, title=None, disabled=False, tabindex=0)
    assert made == '<g class="box on" data-key="&quot;&gt;&lt;script&gt;" hidden tabindex="0"></g>'
    assert tag("rect", x=1) == '<rect x="1"/>'
    assert tag("meta", name="a") == '<meta name="a">'


def test_data_cannot_end_its_element_and_comes_back() -> None:
    value = {"</script>": ["<!--", "a&b", "\u2028", "\x1b", 1.5, None]}
    made = data(value, "record")
    inside = re.fullmatch(r'<script type="application/json" id="record">(.*)</script>', made)
    assert inside
    assert re.search(r"[<>&\u2028\x1b]", inside[1]) is None
    assert json.loads(inside[1]) == {"</script>": ["<!--", "a&b", "\\u2028", "\\x1b", 1.5, None]}
