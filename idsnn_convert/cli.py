"""The two console commands. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import difflib
import errno
import io
import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import Any

import click

from idsnn_convert import __version__

GROUPS = {
    "Convert": {
        "doctor": "Say what keeps a teacher from converting; look at this machine.",
        "convert": "Turn a trained ResNet into a spiking checkpoint.",
        "inspect": "Show what is in a teacher or a spiking checkpoint.",
        "export": "Write a network as ONNX, NIR and others, compared first.",
    },
    "Train": {
        "teach": "Train a teacher: a network without spikes.",
        "train": "Train a spiking checkpoint, with or without its teacher.",
    },
    "Measure": {
        "evaluate": "Measure a student's or a teacher's accuracy.",
        "energy": "Count a student's synaptic operations, and what they cost.",
        "report": "Draw training runs as a page.",
        "study": "What initialisation and distillation add, with your data.",
    },
}
"""Heading in the overview -> name of a subcommand -> its line there."""

COMMANDS = {name: line for group in GROUPS.values() for name, line in group.items()}
"""Name of a subcommand (its module in ``idsnn_convert.commands``) -> its line in the overview."""

WIDEST = max(map(len, COMMANDS))

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 80}

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count: 128 + SIGINT."""

QUIET, VERBOSE = -1, 1
LOUDNESS: ContextVar[int] = ContextVar("loudness", default=0)
"""How much is told on stderr while a command runs: what is decided and done; with ``QUIET`` errors alone; with ``VERBOSE``
also where a mistake was noticed, and what the command took."""

EPILOG = """\b
From a teacher to a trained spiking network:
  idsnn doctor resnet32.th
  idsnn convert resnet32.th --target resnet20 -o student.safetensors
  idsnn train student.safetensors --teacher resnet32.th \\
      --data cifar10:DIR --out run
  idsnn report run --data cifar10:DIR --teacher resnet32.th

\b
Completion of commands, options and files in bash (zsh, fish alike):
  eval "$(_IDSNN_COMPLETE=bash_source idsnn)"

Exit codes: 0 done; 1 the doctor found something, or an export was not the same;
2 a mistake in what was asked; 130 and 143 stopped by Ctrl-C and SIGTERM.
"""


class Told(click.ClickException):
    """A user's mistake on its way to stderr; exit code 2."""

    exit_code = 2

    def __init__(self, problem: str, hint: str | None) -> None:
        super().__init__(problem)
        self.hint = hint

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {printable(self.message)}", err=True)
        if self.hint:
            click.echo(printable(self.hint), err=True)


def printable(text: str) -> str:
    """``text`` with control characters (terminal escapes in a tensor's name, say) shown instead of sent."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _of_the_system(error: OSError) -> str:
    """A full disk, a disk that went away, a file that may not be read: where, if it is a file, and what the system says."""
    file = error.filename
    where = f"cannot read or write {os.fsdecode(file)}" if isinstance(file, str | bytes) else "reading or writing failed"
    return f"{where}: {error.strerror}"


def _loudness() -> list[click.Parameter]:
    """``--quiet`` and ``--verbose``, in force until the command is over."""

    def ask(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
        if asked:
            token = LOUDNESS.set(QUIET if option.name == "quiet" else VERBOSE)
            ctx.call_on_close(lambda: LOUDNESS.reset(token))

    def made(name: str, told: str) -> click.Option:
        return click.Option([f"-{name[0]}", f"--{name}"], is_flag=True, expose_value=False, callback=ask, help=told)

    return [
        made("quiet", "Print the result and errors alone."),
        made("verbose", "Tell time, memory, and where a mistake showed."),
    ]


class Command(click.Command):
    """A command that tells a :class:`idsnn_convert.runtime.errors.UserError` as one message with exit code 2, and groups its
    options in its help.

    Args:
        sections: heading -> names of the parameters under it; those that are named nowhere come last.
        fails: when it ends with exit code 1; empty if it never does.
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, tuple[str, ...]] | None = None, fails: str = "", **settings: Any
    ) -> None:
        codes = f"Exit codes: 0 done;{fails and f' 1 {fails};'} 2 a mistake in what was asked; 130 stopped by Ctrl-C."
        settings["epilog"] = "\n\n".join(filter(None, (settings.get("epilog"), codes)))
        super().__init__(*args, **settings)
        self.params += _loudness()
        self.sections = sections or {}

    def invoke(self, ctx: click.Context) -> Any:
        began = time.monotonic()
        try:
            return self._invoke(ctx)
        finally:
            if LOUDNESS.get() == VERBOSE:
                click.echo(f"Took {time.monotonic() - began:.1f} s and at most {_most_memory():,.0f} MiB.", err=True)

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        """As click's; what was typed wrong is told with its control characters written out."""
        try:
            return super().make_context(*args, **settings)
        except click.UsageError as error:  # which repeats what was typed, as it was
            raise click.UsageError(printable(error.format_message()), error.ctx) from error

    def _invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as stderr's: a name never breaks an ASCII pipe
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:
            from idsnn_convert.runtime.errors import UserError  # imports torch, so only now

            if isinstance(error, UserError):
                if LOUDNESS.get() == VERBOSE:
                    click.echo(printable("".join(traceback.format_exception(error))), err=True)
                raise Told(error.problem, error.hint) from error
            if isinstance(error, OSError) and error.errno not in (None, errno.EPIPE):  # click ends on a closed pipe itself
                raise Told(_of_the_system(error), "Files that were written before are whole.") from error
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        rows = {option.name: row for option in options if (row := option.get_help_record(ctx)) is not None}
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([rows.pop(name) for name in names])
        with formatter.section("Other" if self.sections else "Options"):
            formatter.write_dl(list(rows.values()))


def _most_memory() -> float:
    """The most memory this process has had, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"idsnn_convert.commands.{cmd_name}").command
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and (near := difflib.get_close_matches(args[0], COMMANDS, n=1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, group in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(WIDEST), line) for name, line in group.items()])


version = click.version_option(__version__, package_name="idsnn-convert")


@click.group("idsnn", cls=LazyGroup, context_settings=SETTINGS, epilog=EPILOG)
@version
def main() -> None:
    """Turn a trained ResNet into a spiking network you can train, run and ship.

    'idsnn COMMAND --help' says what a command reads, writes and costs.
    """


main.params += _loudness()


def convert_main() -> None:
    """``idsnn convert`` under its own name, ``idsnn-convert``."""
    from idsnn_convert.commands.convert import command

    command.main(prog_name="idsnn-convert")
