from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from idsnn_convert import __version__
from idsnn_convert.cli import COMMANDS, main, printable
from tests.idsnn_convert.files import run


def test_every_command_in_the_overview_is_there_and_has_help() -> None:
    overview = run("--help").stdout
    for name in COMMANDS:
        assert name in overview
        shown = run(name, "--help")
        assert shown.exit_code == 0
        assert shown.stdout.startswith("Usage: idsnn " + name)


def test_help_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in COMMANDS:
        assert max(map(len, run(name, "--help").stdout.splitlines())) <= 80, name


def test_version() -> None:
    assert __version__ in run("--version").stdout


def test_a_mistyped_command_or_option_is_answered_with_the_nearest() -> None:
    command = run("inspct", "x.pth")
    assert command.exit_code == 2
    assert "Did you mean 'inspect'?" in command.stderr
    option = run("inspect", "x.pth", "--jsn")
    assert option.exit_code == 2
    assert "--json" in option.stderr


def test_the_overview_comes_without_torch() -> None:
    code = (
        "import sys; from idsnn_convert.cli import main; main(['--help'], standalone_mode=False); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_idsnn_convert_is_idsnn_convert_under_its_own_name() -> None:
    code = "import sys; sys.argv = ['idsnn-convert', '--help']; from idsnn_convert.cli import convert_main; convert_main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: idsnn-convert [OPTIONS] TEACHER")


def test_control_characters_are_shown_not_sent() -> None:
    assert printable("a\x1b[31mb\u202e\n\tc") == "a\\x1b[31mb\\u202e\n\tc"


def test_a_bug_is_not_taken_for_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    command = main.get_command(click.Context(main), "inspect")
    assert command is not None

    def broken(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(command, "callback", broken)
    assert isinstance(run("inspect", "x").exception, ZeroDivisionError)


def test_json_goes_to_stdout_alone(tmp_path: object) -> None:
    result = run("inspect", "nothing.pth", "--json")
    assert result.stdout == ""
    with pytest.raises(json.JSONDecodeError):
        json.loads(result.stderr)
