from __future__ import annotations

import base64
import hashlib
import re

from idsnn_convert.report.page import ASSETS, page


def test_a_page_asks_for_nothing_and_runs_its_own_script_alone() -> None:
    made = page("<Title>", "body <b>", styles=("mapping.css",), scripts=("mapping.js",))
    assert "<title>&lt;Title&gt;</title>" in made
    assert "body &lt;b&gt;" in made
    assert re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", made) == ["data:,"]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", made)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', made)
    assert policy
    assert policy[1].startswith("default-src &#x27;none&#x27;; ")
    for element in ("style", "script"):
        inside = re.search(f"<{element}>(.*?)</{element}>", made, re.DOTALL)
        assert inside
        assert base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode() in policy[1]


def test_a_page_without_a_script_allows_none() -> None:
    made = page("t")
    assert "script-src" not in made
    assert "<script" not in made


def test_assets_are_small() -> None:
    """A few hundred lines in all, which a reader can check."""
    assert sum(len(path.read_text().splitlines()) for path in ASSETS.iterdir()) < 600
