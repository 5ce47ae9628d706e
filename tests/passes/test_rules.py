from __future__ import annotations

import pytest
from click.testing import CliRunner

from idsnn_convert.commands.convert import command
from idsnn_convert.passes.rules import RULES, prefix, relative, spread


def test_relative_by_hand() -> None:
    assert relative(2, 4) == (1, 3)
    assert relative(4, 2) == (0, 0, 1, 1)
    assert relative(4, 3) == (0, 1, 1, 2)
    assert relative(1, 3) == (1,)


def test_prefix_by_hand() -> None:
    assert prefix(2, 4) == (0, 1)
    assert prefix(4, 2) == (0, 1, 1, 1)


def test_spread_by_hand() -> None:
    assert spread(3, 5) == (0, 2, 4)
    assert spread(2, 6) == (0, 5)
    assert spread(3, 4) == (0, 2, 3)  # 1.5, half up
    assert spread(5, 2) == (0, 0, 1, 1, 1)  # 0.25, 0.5, 0.75
    assert spread(1, 4) == (0,)


@pytest.mark.parametrize("n_source", range(2, 9))
@pytest.mark.parametrize("n_target", range(2, 9))
def test_spread_goes_from_the_first_to_the_last(n_target: int, n_source: int) -> None:
    found = spread(n_target, n_source)
    assert (found[0], found[-1]) == (0, n_source - 1)
    exact = [j * (n_source - 1) / (n_target - 1) for j in range(n_target)]
    assert all(-0.5 < index - place <= 0.5 for index, place in zip(found, exact, strict=True))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n_source", range(1, 9))
@pytest.mark.parametrize("n_target", range(1, 9))
def test_every_rule_gives_every_target_a_source_in_order(rule: str, n_target: int, n_source: int) -> None:
    found = RULES[rule](n_target, n_source)
    assert len(found) == n_target
    assert list(found) == sorted(found)
    assert 0 <= found[0] <= found[-1] < n_source
    if n_target == n_source:
        assert found == tuple(range(n_source))


def test_relative_uses_each_source_equally_often_when_it_repeats() -> None:
    found = relative(12, 4)
    assert [found.count(i) for i in range(4)] == [3, 3, 3, 3]


def test_the_help_of_the_command_names_every_rule() -> None:
    told = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert f"Pairs blocks: {', '.join(RULES)}, FILE.toml." in told
