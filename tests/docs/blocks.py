"""The code blocks of the manual: found in its pages, run in order, their output held against what the page shows.

In a page, ``examples/`` is the repository's, and what one block writes the next may read. Told to the tests by a comment
above a block, which the reader does not see: ``<!-- exit 1 -->`` (its last command ends so), ``<!-- figures vary -->``
(numbers are not compared), ``<!-- shorter: ARGUMENTS -->`` (added to its commands, so that a long run is a short one).
In each page's folder ``few`` is the example's data with few images.
A block with a caption is the file of that name; a block whose caption begins with "Not run" says there why, and of it
only the options are looked up. ``...`` in what is shown stands for anything.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from idsnn_convert.cli import COMMANDS, main

RUN = ("console", "python")
NOT_RUN = "Not run"
FENCE = re.compile(r"^(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=fence) *$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, in what language, and what the page says of it."""

    page: str
    line: int
    language: str
    text: str
    caption: str = ""
    notes: str = ""
    output: str | None = None

    @property
    def runs(self) -> bool:
        return self.language in RUN and not self.caption

    @property
    def file(self) -> str:
        """The name it is to be written under; empty if it is no file."""
        return "" if self.caption.startswith(NOT_RUN) else self.caption

    @property
    def shorter(self) -> list[str]:
        found = re.search(r"shorter: (.+)", self.notes)
        return shlex.split(found[1]) if found else []

    @property
    def exit_code(self) -> int:
        found = re.search(r"exit (\d+)", self.notes)
        return int(found[1]) if found else 0


def blocks_of(page: str, text: str) -> list[Block]:
    """The blocks of a page in order; a ``text`` block right behind Python is what that prints."""
    found: list[Block] = []
    end = 0
    for match in FENCE.finditer(text):
        language = match["language"].removeprefix("{code-block}").strip()
        caption, body = "", match["body"]
        if match["language"].startswith("{") and (option := re.match(r":caption: (.+)\n\n?", body)):
            caption, body = option[1].strip(), body[option.end() :]
        before = text[: match.start()].rstrip("\n").rpartition("\n")[2]
        notes = "; ".join(re.findall(r"<!-- (.+?) -->", before))
        line = text.count("\n", 0, match.start()) + 1
        follows = found and found[-1].language == "python" and not text[end : match.start()].strip()
        if language == "text" and follows and found[-1].output is None:
            found[-1] = Block(**{**vars(found[-1]), "output": body})
        else:
            found.append(Block(page, line, language, body, caption, notes))
        end = match.end()
    return found


def commands_in(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, their lines joined, each with the output shown below it."""
    command = ""
    shown: list[str] = []
    for line in text.splitlines():
        if command.endswith("\\"):
            command = f"{command[:-1].rstrip()} {line.strip()}"
        elif line.startswith("$ "):
            if command:
                yield command, "\n".join(shown)
            command, shown = line[2:].strip(), []
        else:
            shown.append(line)
    if command:
        yield command, "\n".join(shown)


@dataclass
class Session:
    """One page being read from its top: its folder, and the names its Python has made so far."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        """Runs a block in the current folder, which must be the session's.

        Raises:
            AssertionError: if it fails, or what it prints is not what the page shows.
        """
        if block.file:
            place = self.folder / block.file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.text)
        elif block.language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), tables_restored():
                exec(compile("\n" * block.line + block.text, block.page, "exec"), self.names)
            if block.output is not None:
                check_shown(block.output, printed.getvalue(), "figures vary" in block.notes)
        else:
            commands = list(commands_in(block.text))
            for index, (command, shown) in enumerate(commands):
                code, printed_text = executed(command, block.shorter)
                wanted = block.exit_code if index == len(commands) - 1 else 0
                assert code == wanted, f"$ {command}\nexit code {code}\n{printed_text}"
                if shown.strip():
                    check_shown(shown, printed_text, "figures vary" in block.notes)


@contextlib.contextmanager
def tables_restored() -> Iterator[None]:
    """Takes back what a block adds to a table of ours, for the tests that come after it."""
    modules = [vars(module) for name, module in sys.modules.items() if name.partition(".")[0] == "idsnn_convert"]
    tables = [(value, dict(value)) for names in modules for value in list(names.values()) if type(value) is dict]
    try:
        yield
    finally:
        for table, before in tables:
            for added in [key for key in table if key not in before]:
                del table[added]


def executed(command: str, more: list[str]) -> tuple[int, str]:
    """Exit code and output of a command; our own run in this process, which has the libraries loaded already."""
    words = shlex.split(command, comments=True)
    if words[0] not in ("idsnn", "idsnn-convert") or any(sign in words for sign in ("|", ">", "&&")):
        words = [sys.executable if word == "python" else word for word in words]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout
    arguments = words[1:] if words[0] == "idsnn" else ["convert", *words[1:]]
    result = CliRunner().invoke(main, [*arguments, *more])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def check_shown(shown: str, printed: str, figures_vary: bool = False) -> None:
    """Holds what a page shows against what was printed; ``...`` stands for anything, a line of it for any lines.

    Raises:
        AssertionError: where they differ.
    """
    if figures_vary:
        shown, printed = masked(shown), masked(printed)
    pattern = ""
    for line in shown.strip("\n").splitlines():
        told = re.escape(line.rstrip()).replace(r"\.\.\.", ".*")
        pattern += r"(?:.*\n)*?" if line.strip() == "..." else rf"{told} *\n"
    printed = "\n".join(line.rstrip() for line in printed.strip("\n").splitlines()) + "\n"
    assert re.fullmatch(pattern, printed), f"the page shows\n{shown}\nbut this was printed:\n{printed}"


def masked(text: str) -> str:
    """``text`` without its numbers, and without the spaces and rules whose lengths depend on them."""
    return re.sub(r"[ ─]+", " ", re.sub(r"\d+([.,]\d+)*(e[+-]?\d+)?", "0", text))


def our_commands(text: str) -> list[list[str]]:
    """The words of each command of ours in a block, as ``[command, argument, ...]``, whatever starts it."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        match = re.match(r"(?:\$ )?(?:idsnn-convert(?= )|idsnn(?= )|torchrun .*-m idsnn_convert(?= ))(.*)", line)
        if match:
            words = shlex.split(match[1], comments=True)
            found.append(["convert", *words] if line.removeprefix("$ ").startswith("idsnn-convert") else words)
    return found


def unknown_options(words: list[str]) -> list[str]:
    """Of a command of ours, what it does not know: itself, or its options."""
    command, *rest = words
    if command not in COMMANDS:
        return [] if command in ("--help", "--version", "COMMAND") else [command]
    options = [word.partition("=")[0] for word in rest]
    return [option for option in options if OPTION.fullmatch(option) and option not in options_of(command)]


def options_of(command: str) -> set[str]:
    found: click.Command = import_module(f"idsnn_convert.commands.{command}").command
    parameters = found.get_params(click.Context(found))
    return {name for option in parameters for name in (*option.opts, *option.secondary_opts)}
