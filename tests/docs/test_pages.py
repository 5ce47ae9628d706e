"""Every code block of the manual runs, and prints what its page shows."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from idsnn_convert.cli import COMMANDS
from tests.docs.blocks import Block, Session, blocks_of, options_of, our_commands, unknown_options

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "modules" not in path.parts
}
BLOCKS = [block for page, text in PAGES.items() for block in blocks_of(page, text)]
OF_TORCHRUN = {"--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--master-port"}


IMAGES, LABELS = 16, 8
"""Bytes that precede images and labels in an idx file."""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's data set, cut to 64 training and 50 test images."""
    folder = tmp_path_factory.mktemp("few")
    for part, images in (("train", 64), ("t10k", 50)):
        for kind, head, size in (("images-idx3", IMAGES, 28 * 28), ("labels-idx1", LABELS, 1)):
            name = f"{part}-{kind}-ubyte.gz"
            content = gzip.decompress((ROOT / "examples" / "fashion-mnist" / name).read_bytes())
            cut = content[:4] + images.to_bytes(4, "big") + content[8 : head + images * size]
            (folder / name).write_bytes(gzip.compress(cut))
    return folder


@pytest.fixture(scope="module")
def sessions() -> dict[str, Session | None]:
    """Page -> where its reader stands; None once a block of it has failed."""
    return {}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.runs or b.file], ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_runs_and_prints_what_is_shown(
    block: Block,
    sessions: dict[str, Session | None],
    few: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if block.page not in sessions:
        folder = tmp_path_factory.mktemp("page")
        (folder / "examples").symlink_to(ROOT / "examples")
        (folder / "few").symlink_to(few)
        sessions[block.page] = Session(folder)
    session, sessions[block.page] = sessions[block.page], None
    if session is None:
        pytest.skip("a block above it failed")
    monkeypatch.chdir(session.folder)
    session.run(block)
    sessions[block.page] = session


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_no_command_has_an_option_that_does_not_exist(page: str) -> None:
    blocks = blocks_of(page, (ROOT / page).read_text(encoding="utf-8"))
    commands = [words for block in blocks for words in our_commands(block.text)]
    assert [(words, unknown) for words in commands if (unknown := unknown_options(words))] == []


@pytest.mark.parametrize("page", PAGES)
def test_options_named_in_the_text_exist(page: str) -> None:
    known = {"--help", "--version", *OF_TORCHRUN}.union(*(options_of(command) for command in COMMANDS))
    assert set(re.findall(r"`(--[\w-]+)[^`\n]*`", PAGES[page])) - known == set()
