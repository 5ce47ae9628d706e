from __future__ import annotations

import fractions
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.load.types import Trust
from idsnn_convert.runtime.errors import UserError
from tests.passes.families.renamed import lively
from tests.passes.load.hostile import Hostile
from tests.passes.made import spec

STATE = lively(spec((1, 1))).state_dict()
ARCHIVE = pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
FRACTION = Trust(("fractions.Fraction",))


def saved(path: Path, content: Any, archive: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    return path


@ARCHIVE
def test_a_class_that_is_vouched_for_is_called_and_recorded(tmp_path: Path, archive: bool) -> None:
    path = saved(tmp_path / "a.pt", {"state_dict": STATE, "x": fractions.Fraction(1, 2)}, archive)
    with pytest.raises(UserError, match=r"asks Python for fractions\.Fraction.*\n.*--allow-global fractions\.Fraction"):
        load_teacher(path)
    teacher = load_teacher(path, trust=FRACTION)
    assert teacher.trusted == ("--allow-global fractions.Fraction",)
    assert torch.equal(teacher.tensors["conv1.weight"], STATE["conv1.weight"])
    assert load_teacher(saved(path, STATE, archive)).trusted == ()


@ARCHIVE
def test_a_file_that_is_trusted_altogether_runs(tmp_path: Path, archive: bool) -> None:
    path = saved(tmp_path / "a.pt", {"state_dict": STATE, "x": Hostile(tmp_path / "ran")}, archive)
    with pytest.raises(UserError, match="Nothing was executed"):
        load_teacher(path)
    assert not (tmp_path / "ran").exists()
    assert load_teacher(path, trust=Trust(everything=True)).trusted == ("--unsafe-pickle",)
    assert (tmp_path / "ran").exists()


def test_what_runs_commands_is_not_to_be_vouched_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"state_dict": STATE, "x": Hostile(tmp_path / "ran")})
    with pytest.raises(UserError, match=r"posix\.mkdir runs commands; no weights need it"):
        load_teacher(path, trust=Trust(("posix.mkdir",)))
    assert not (tmp_path / "ran").exists()


class Own(nn.Module):
    """A network of somebody's own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(144, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(self.conv(x).relu().flatten(1))
        return found


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_a_network_of_ones_own_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything: bool, inside: bool
) -> None:
    home = types.ModuleType("somebodys")
    vars(home)["Own"] = Own
    monkeypatch.setitem(sys.modules, "somebodys", home)
    monkeypatch.setattr(Own, "__module__", "somebodys")
    module = Own()
    path = saved(tmp_path / "a.pt", {"model": module, "epoch": 3} if inside else module)
    trust = Trust(everything=True) if everything else Trust(("somebodys.Own",))
    teacher = load_teacher(path, input_size=8, trust=trust)
    assert (teacher.form, teacher.family) == ("pickled module", "somebodys.Own")
    assert torch.equal(teacher.tensors["fc.weight"], module.fc.weight)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("collections.ChainMap",), r"does not ask for collections\.ChainMap\nIt asks for fractions\.Fraction\."),
        (("fractions.Fraction", "nowhere.X"), r"does not ask for nowhere\.X"),
    ],
)
def test_a_name_that_the_file_does_not_ask_for_is_told(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    path = saved(tmp_path / "a.pt", {"state_dict": STATE, "x": fractions.Fraction(1, 2)})
    with pytest.raises(UserError, match=told):
        load_teacher(path, trust=Trust(names))


def test_a_class_that_is_not_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = types.ModuleType("nowhere")
    vars(home)["Own"] = Own
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "nowhere", home)
        there.setattr(Own, "__module__", "nowhere")
        path = saved(tmp_path / "a.pt", Own())
    for trust in (Trust(("nowhere.Own",)), Trust(everything=True)):
        with pytest.raises(UserError, match=r"No module named 'nowhere'\n.*PYTHONPATH"):
            load_teacher(path, trust=trust)


def test_other_forms_have_nothing_to_vouch_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UserError, match=r"--unsafe-pickle is for torch\.save files; .* is an HDF5 file"):
        load_teacher(tmp_path / "a", trust=Trust(everything=True))
