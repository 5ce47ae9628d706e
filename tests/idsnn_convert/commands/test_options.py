from __future__ import annotations

import click
from click.testing import CliRunner

from idsnn_convert.commands import options


def test_each_option_reaches_its_parameter() -> None:
    @click.command()
    @options.arch
    @options.input_size
    @options.as_json
    @options.data
    @options.normalisation
    @options.device
    @options.compiled
    def shown(**given: object) -> None:
        click.echo(sorted(given.items(), key=str))

    given = [
        "--arch",
        "a",
        "--input-size",
        "7",
        "--json",
        "--data",
        "d",
        "--normalisation",
        "n",
        "--device",
        "cpu",
        "--compile",
    ]
    wanted = {
        "arch": "a",
        "input_size": 7,
        "as_json": True,
        "data": "d",
        "normalisation": "n",
        "device": "cpu",
        "compiled": True,
    }
    assert CliRunner().invoke(shown, given).stdout.strip() == str(sorted(wanted.items(), key=str))
    left_out = CliRunner().invoke(shown, ["--data", "d"]).stdout
    assert "('device', 'auto')" in left_out
    assert "('compiled', None)" in left_out
