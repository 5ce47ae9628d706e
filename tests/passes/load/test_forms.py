from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.load.forms import FORMS, Content, Form
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.errors import UserError
from tests.passes.families.renamed import lively
from tests.passes.made import spec

READ = [name for name, form in FORMS.items() if form.loader]


@pytest.mark.parametrize("name", READ)
def test_every_loader_takes_a_request_and_gives_a_teacher(name: str) -> None:
    signature = inspect.signature(FORMS[name].function(), eval_str=True)
    assert [parameter.annotation for parameter in signature.parameters.values()] == [Request]
    assert signature.return_annotation is Teacher


@pytest.mark.parametrize("name", set(FORMS) - set(READ))
def test_a_form_that_is_not_read_has_a_way_out(name: str) -> None:
    assert FORMS[name].way_out.endswith((".", ")"))


def test_the_last_form_is_what_is_of_no_other() -> None:
    assert list(FORMS)[-1] == "unknown"
    assert not any(FORMS[name].sign(Content(b"\0\1\2\xff")) for name in list(FORMS)[:-1])


def test_one_row_adds_a_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its file is told apart and read; nothing else is asked for."""
    state = lively(spec((1, 1))).state_dict()
    path = tmp_path / "weights.own"
    path.write_bytes(b"OWN\0\xff")
    with pytest.raises(UserError, match="of no known kind"):
        load_teacher(path)

    def read(request: Request) -> Teacher:
        kept = request.path.with_suffix(".pt")
        torch.save(state, kept)
        return FORMS["torch archive"].load(Request(kept, "", request.arch, 20))

    monkeypatch.setitem(sys.modules, "idsnn_convert.passes.load.own", type("own", (), {"read": staticmethod(read)}))
    row = Form("our own", lambda content: content.head.startswith(b"OWN"), "own:read")
    rows = {"own": row, **FORMS}
    monkeypatch.setattr("idsnn_convert.passes.load.detect.FORMS", rows)
    monkeypatch.setattr("idsnn_convert.passes.load.teacher.FORMS", rows)
    teacher = load_teacher(path)
    found: Tensor = teacher.tensors["fc.weight"]
    assert torch.equal(found, state["fc.weight"])


def test_a_loader_is_imported_when_a_file_of_its_form_is_read() -> None:
    told = "import sys, idsnn_convert.passes.load; print('idsnn_convert.passes.load.onnx.teacher' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
