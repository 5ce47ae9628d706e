from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import idsnn_convert
from idsnn_convert.cli import COMMANDS, GROUPS, Command, Told, convert_main, main, printable
from idsnn_convert.runtime.errors import UserError
from tests.idsnn_convert.files import TINY, assert_told, columns, done, run, unwrapped

ROOT = Path(__file__).resolve().parents[2]
LIGHT = """
import sys
from idsnn_convert.cli import main
for args in (["--help"], ["--version"], *([name, "--help"] for name in sys.argv[1:])):
    try:
        main(args)
    except SystemExit as end:
        assert not end.code
assert "torch" not in sys.modules and "rich" not in sys.modules
"""

BROUGHT_IN = """
import sys, torch
before = set(sys.modules)
from idsnn_convert.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""
"""What a command imports besides torch and what comes with it."""
FOR_IMAGES = {
    *(f"idsnn_convert.runtime.{name}" for name in ("balance", "data", "evaluate", "fingerprint", "recipe", "trainer")),
    *(f"idsnn_convert.{name}" for name in ("balance", "examine", "identify", "learn")),
}


def brought_in(*arguments: object) -> set[str]:
    command = [sys.executable, "-c", BROUGHT_IN, *map(str, arguments)]
    told = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return set(told.stderr.split())


def test_a_conversion_imports_no_compiler_and_nothing_for_images(teacher: Path) -> None:
    found = brought_in("convert", teacher, *TINY, "-o", "s.safetensors")
    assert "idsnn_convert.passes.convert" in found
    assert found.isdisjoint(FOR_IMAGES | {"sympy", "torch._dynamo", "torch._inductor", "onnx"})
    assert "networkx" not in brought_in("inspect", "s.safetensors")  # the graph is cut in blocks no more


def test_help_and_version_need_no_heavy_library() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIGHT, *COMMANDS]
    told = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def test_the_overview_lists_every_command_and_an_example() -> None:
    told = done("--help").stdout
    assert all(f"\n  {name} " in told for name in COMMANDS)
    assert "idsnn convert resnet32.th --target resnet20" in told
    assert columns(told) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_groups_its_options_and_says_what_it_does_to_files(name: str) -> None:
    told = done(name, "--help").stdout
    assert columns(told) <= 80
    assert "Reads " in told
    assert "rites " in told
    assert "  Examples:\n    idsnn" in told
    listed = told[told.index("\nWhat ") : told.index("Examples:")]
    assert listed.rindex("\nOther:") > max(listed.rfind("\nWhat "), listed.rfind("\nHow "))
    options = [line.split()[0] for line in listed.splitlines() if line.startswith("  -")]
    assert len(options) == len(set(options)) > 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_tells_its_exit_codes_and_how_loud_it_is(name: str) -> None:
    told = unwrapped(done(name, "--help").stdout)
    assert "Exit codes: 0 done;" in told
    assert ("; 1 " in told[told.index("Exit codes") :]) == (name in ("doctor", "export"))
    assert "2 a mistake in what was asked; 130 stopped by Ctrl-C." in told
    assert told.count("-q, --quiet") == told.count("-v, --verbose") == 1


def test_the_overview_groups_the_commands() -> None:
    told = done("--help").stdout
    places = [told.index(f"\n{heading}:") for heading in GROUPS]
    assert places == sorted(places)
    assert "130 and 143 stopped by Ctrl-C and SIGTERM" in unwrapped(told)


@pytest.mark.parametrize("where", ["before", "behind"])
def test_quiet_leaves_the_result_alone(where: str, student: Path, fashion: str) -> None:
    arguments = ["evaluate", student, "--data", fashion, "--device", "cpu"]
    loud = done(*arguments)
    assert "normalisation" in loud.stderr
    quiet = done(*(["-q", *arguments] if where == "before" else [*arguments, "--quiet"]))
    assert quiet.stderr == ""
    assert quiet.stdout.splitlines()[0] == loud.stdout.splitlines()[0]
    assert done(*arguments).stderr == loud.stderr  # it holds for one command


def test_quiet_mistakes_are_told() -> None:
    assert_told(run("inspect", "nowhere", "-q"), "nowhere: no such file")


def test_verbose_tells_time_memory_and_where_a_mistake_showed(student: Path) -> None:
    told = done("inspect", student, "-v").stderr
    assert re.fullmatch(r"Took \d+\.\d s and at most [\d,]+ MiB\.\n", told)
    result = run("-v", "inspect", "nowhere")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == "Error: nowhere: no such file"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("idsnn ev", {"evaluate"}),
        ("idsnn e", {"evaluate", "energy", "export"}),
        ("idsnn convert --ta", {"--target", "--tau"}),
        ("idsnn report --base", {"--baseline"}),
    ],
)
def test_a_shell_completes_commands_and_options(words: str, found: set[str]) -> None:
    count = str(len(words.split()) - 1)
    ended = run(_IDSNN_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    assert {line.partition(",")[2] for line in ended.stdout.splitlines()} == found


def test_the_shells_script_is_given() -> None:
    assert "complete -o nosort -F" in run(_IDSNN_COMPLETE="bash_source").stdout


def test_version() -> None:
    assert idsnn_convert.__version__ in done("--version").stdout
    assert idsnn_convert.__version__ in done("convert", "--version").stdout


def test_convert_has_a_command_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["idsnn-convert", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        convert_main()
    assert not end.value.code
    told = capsys.readouterr().out
    assert told.startswith("Usage: idsnn-convert [OPTIONS] TEACHER")
    assert columns(told) <= 80


def test_the_nearest_command_is_named() -> None:
    assert_told(run("convrt"), "No such command 'convrt'", "Did you mean 'convert'?")


def test_a_command_far_from_all_is_refused() -> None:
    assert_told(run("fly"), "No such command 'fly'", "--help")


def test_the_nearest_option_is_named() -> None:
    assert_told(run("convert", "x.th", "--targte", "resnet20"), "No such option '--targte'", "--target")


@click.command("failing", cls=Command)
@click.argument("kind")
def failing(kind: str) -> None:
    if kind == "user":
        raise UserError("tensor 'a\x1b[31m' is missing", hint="Give b\x07.")
    if kind == "stopped":
        raise KeyboardInterrupt
    if kind == "unreadable":
        raise PermissionError(errno.EACCES, "Permission denied", "teacher\x1b.pth")
    if kind == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    raise ValueError("a mistake of ours")


def test_a_users_mistake_is_one_message_without_escape_sequences() -> None:
    result = CliRunner().invoke(failing, ["user"])
    assert_told(result)
    assert result.stderr == "Error: tensor 'a\\x1b[31m' is missing\nGive b\\x07.\n"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("unreadable", "cannot read or write teacher\\x1b.pth: Permission denied"),
        ("full", "reading or writing failed: No space left on device"),
    ],
)
def test_what_the_system_refuses_is_one_message(kind: str, told: str) -> None:
    result = CliRunner().invoke(failing, [kind])
    assert_told(result)
    assert result.stderr == f"Error: {told}\nFiles that were written before are whole.\n"


def test_ctrl_c_ends_with_130() -> None:
    result = CliRunner().invoke(failing, ["stopped"])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


def test_a_mistake_of_ours_is_not_hidden() -> None:
    assert isinstance(CliRunner().invoke(failing, ["ours"]).exception, ValueError)


def test_a_command_without_sections_lists_its_options_under_one_heading() -> None:
    assert "\nOptions:\n" in CliRunner().invoke(failing, ["--help"]).stdout


def test_a_message_without_a_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Told("it broke", None).show()
    assert capsys.readouterr().err == "Error: it broke\n"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain ünï 漢", "plain ünï 漢"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("right\u202eto left", "right\\u202eto left"),
        ("surrogate \udc80", "surrogate \\udc80"),
        ("\r\x9b2J", "\\r\\x9b2J"),
    ],
)
def test_control_characters_are_shown_not_sent(text: str, seen: str) -> None:
    assert printable(text) == seen


def test_every_command_has_its_module() -> None:
    context = click.Context(main)
    assert [main.get_command(context, name).name for name in main.list_commands(context)] == list(COMMANDS)
    assert main.get_command(context, "cli") is None


def test_words_that_no_command_takes_are_told_without_escape_sequences() -> None:
    for words in (["a", "b\x1b]0;title\x07"], ["a", "--target\x1b[31m", "x"]):
        result = CliRunner().invoke(main, ["convert", *words, "--target", "same"])
        assert result.exit_code == 2
        assert "\x1b" not in result.stderr
        assert "\\x1b" in result.stderr
