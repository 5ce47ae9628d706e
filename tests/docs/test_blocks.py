from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.runtime.surrogates import SURROGATES
from tests.docs.blocks import Block, Session, blocks_of, check_shown, commands_in, executed, our_commands, unknown_options

PAGE = """
# A page

```{recipes}
```

<!-- figures vary; exit 1 -->
```console
$ echo a \\
    b
a b
$ false
```

```python
print(1 + 1)
```

```text
2
```

```{code-block} toml
:caption: made/thin.toml

depths = [1]
```

```{code-block} console
:caption: Not run in the tests: needs two GPUs
$ torchrun --nproc-per-node 2 -m idsnn_convert train student --data x:y --out run
```
"""


def test_the_blocks_of_a_page() -> None:
    directive, console, python, toml, skipped = blocks_of("page.md", PAGE)
    assert (directive.language, directive.runs, directive.file) == ("{recipes}", False, "")
    assert (console.line, console.language, console.exit_code, console.runs) == (8, "console", 1, True)
    assert list(commands_in(console.text)) == [("echo a b", "a b"), ("false", "")]
    assert (python.output, python.runs) == ("2\n", True)
    assert (toml.file, toml.text, toml.runs) == ("made/thin.toml", "depths = [1]\n", False)
    assert (skipped.file, skipped.runs) == ("", False)


def test_blocks_of_a_page_share_a_folder_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session(tmp_path)
    for block in blocks_of("page.md", PAGE):
        if block.runs or block.file:
            session.run(block)
    session.run(Block("page.md", 1, "python", "from pathlib import Path\nfound = Path('made/thin.toml').read_text()"))
    assert session.names["found"] == "depths = [1]\n"


@pytest.mark.parametrize(
    "block",
    [
        Block("page.md", 1, "console", "$ echo a\nb\n"),
        Block("page.md", 1, "console", "$ false\n"),
        Block("page.md", 1, "console", "$ true\n", notes="exit 1"),
        Block("page.md", 1, "console", "$ false\n$ true\n"),
        Block("page.md", 1, "console", "$ idsnn inspect nothing.pth\n"),
        Block("page.md", 1, "python", "print(1)", output="2\n"),
    ],
)
def test_a_page_that_is_wrong_is_seen(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError):
        Session(tmp_path).run(block)


def test_a_shorter_run_has_more_arguments() -> None:
    assert executed("echo a", [])[1] == "a\n"
    code, told = executed("idsnn inspect", ["--help"])
    assert code == 0
    assert told.startswith("Usage:")


@pytest.mark.parametrize(
    ("shown", "printed", "vary"),
    [
        ("a\n...\nd", "a\nb\nc\nd\n", False),
        ("a ... d", "a b c d", False),
        ("3.5 s, top-1 20", "12.25 s, top-1 7", True),
        ("...", "", False),
    ],
)
def test_what_is_left_out_may_be_anything(shown: str, printed: str, vary: bool) -> None:
    check_shown(shown, printed, vary)


@pytest.mark.parametrize(
    ("shown", "printed", "vary"),
    [("a\n...\nd", "a\nb\n", False), ("a", "a\nb", False), ("3 s", "4 s", False), ("3 s", "4 ms", True)],
)
def test_what_differs_is_seen(shown: str, printed: str, vary: bool) -> None:
    with pytest.raises(AssertionError):
        check_shown(shown, printed, vary)


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("$ idsnn train s --data d --out r --epoch 3", ["--epoch"]),
        ("idsnn-convert t.pth --target same -T 6 \\\n  --report=x.html", []),
        ("torchrun --nproc-per-node 2 -m idsnn_convert train s --nproc", ["--nproc"]),
        ("idsnn trian s", ["trian"]),
        ("pip install --no-such-option x", []),
        ("idsnn --version", []),
        ("idsnn-convert 0.1.0, Python", []),
    ],
)
def test_an_option_that_does_not_exist_is_seen(line: str, unknown: list[str]) -> None:
    assert [option for words in our_commands(line) for option in unknown_options(words)] == unknown


def test_what_a_block_adds_to_a_table_is_taken_back(tmp_path: Path) -> None:

    before = dict(SURROGATES)
    added = "from idsnn_convert.runtime.surrogates import SURROGATES\nSURROGATES['new'] = None\nprint(len(SURROGATES))"
    Session(tmp_path).run(Block("page.md", 1, "python", added, output=f"{len(before) + 1}\n"))
    assert before == SURROGATES
