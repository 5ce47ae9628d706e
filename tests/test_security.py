"""One hostile file of each sort, given to the command; and that the threat page names tests that there are."""

from __future__ import annotations

import ast
import fractions
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from idsnn_convert.runtime.checkpoint import read
from tests.fuzz.samples import CONVERT, KINDS, SPEC
from tests.fuzz.worker import Watch, one
from tests.idsnn_convert import files
from tests.passes.families.renamed import lively
from tests.passes.load.hostile import Hostile

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "security.md"
ESCAPES = "\x1b[31mred\x1b]0;title\x07<img src=x onerror=alert(1)>"
STATE = lively(SPEC).state_dict()


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 40
    assert [
        f"{file}::{test}" for file, test in named if not (ROOT / file).is_file() or test not in functions(ROOT / file)
    ] == []


def _payload(folder: Path) -> None:
    torch.save({"state_dict": STATE, "x": Hostile(folder / "ran-code")}, folder / "teacher")


def _bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "teacher", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/data/0", bytes(64 << 20), zipfile.ZIP_DEFLATED)


def _header_bomb(folder: Path) -> None:
    (folder / "teacher").write_bytes(struct.pack("<Q", 90 << 20) + b"{" + b" " * 600)


def _program_payload(folder: Path) -> None:
    torch.save(Hostile(folder / "ran-code"), folder / "inner")
    with zipfile.ZipFile(folder / "teacher", "w") as made:
        made.writestr("program/archive_format", "pt2")
        made.writestr("program/data/sample_inputs/model.pt", (folder / "inner").read_bytes())
        made.writestr("program/models/model.json", "{}")


def _outside(folder: Path) -> None:
    onnx: Any = pytest.importorskip("onnx")
    KINDS["ONNX, data beside"].make(folder)
    model = onnx.load(str(folder / "teacher"), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = "../../../../etc/passwd" if entry.key == "location" else entry.value
    (folder / "teacher").write_bytes(model.SerializeToString())


def _linked(folder: Path) -> None:
    pytest.importorskip("nir")
    import h5py

    with h5py.File(folder / "teacher", "w") as file:
        file["node"] = h5py.ExternalLink("/etc/passwd", "/")


def _names(folder: Path) -> None:
    torch.save({f"{ESCAPES}.weight": torch.ones(2, 2), ESCAPES: torch.ones(2)}, folder / "teacher")


def _tensor_names(folder: Path) -> None:
    save_file({**STATE, "conv1.weight": torch.full((4, 3, 3, 3), float("nan"))}, folder / "teacher", {ESCAPES: ESCAPES})


def _dotted(folder: Path) -> None:
    torch.save(STATE, folder / "teacher")
    (folder / "target.toml").write_text("a." * 30_000 + "b = 1")


def _deep(folder: Path) -> None:
    notes = {"idsnn": "[" * 100_000 + "]" * 100_000}
    save_file({"a": torch.ones(1)}, folder / "teacher", notes)


INSPECT = ("inspect", "teacher")
SAMPLES: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "pickle that runs a command": (_payload, CONVERT, "asks Python for posix.mkdir"),
    "payload in a .pt2": (_program_payload, INSPECT, "other Python objects than tensors"),
    "zip bomb": (_bomb, CONVERT, "is compressed (65,"),
    "header bomb": (_header_bomb, CONVERT, "more than the file has"),
    "ONNX data outside": (_outside, INSPECT, "is not in the folder of the file"),
    "HDF5 link outside": (_linked, INSPECT, "is a link to somewhere else"),
    "escapes and HTML as names": (_names, CONVERT, "no known ResNet"),
    "escapes in the metadata": (_tensor_names, CONVERT, "NaN or infinite"),
    "TOML dotted to death": (_dotted, (*CONVERT[:3], "target.toml"), "a key of more than 32 parts"),
    "JSON nested to death": (_deep, INSPECT, "nested too deeply"),
}


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.mark.parametrize("name", SAMPLES)
def test_each_hostile_sample_is_refused_with_its_own_message(name: str, tmp_path: Path, watch: Watch) -> None:
    make, words, told = SAMPLES[name]
    make(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    answer = one(watch, str(tmp_path), list(words))
    assert (answer["code"], answer["failure"], answer["stdout"]) == (2, "", "")
    assert told in files.unwrapped(answer["stderr"])
    assert answer["stderr"].count("Error: ") == 1
    assert all(character.isprintable() or character == "\n" for character in answer["stderr"])
    assert answer["seen"] == []
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_student_with_escapes_in_its_teachers_names_tells_them_as_text(tmp_path: Path, watch: Watch) -> None:
    torch.save({**STATE, f"{ESCAPES}.num_batches_tracked": torch.ones(1)}, tmp_path / "teacher")
    answer = one(watch, str(tmp_path), list(CONVERT))
    assert answer["code"] == 0
    assert "\x1b" not in answer["stdout"] + answer["stderr"]
    page = (tmp_path / "student.html").read_text()
    assert "\x1b" not in page
    assert "<img" not in page


@pytest.mark.parametrize("option", [("--allow-global", "fractions.Fraction"), ("--unsafe-pickle",)])
def test_trust_is_loud_and_recorded(option: tuple[str, ...], tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "x": fractions.Fraction(1, 2)}, tmp_path / "t.pt")
    student = tmp_path / "s.safetensors"
    refused = files.run("convert", tmp_path / "t.pt", "--target", "same", "-o", student)
    files.assert_told(refused, "--allow-global fractions.Fraction", "--unsafe-pickle")
    done = files.done("convert", tmp_path / "t.pt", "--target", "same", "-o", student, *option)
    assert done.stderr.startswith(f"WARNING: {option[0]}: ")
    assert " ".join(option) in files.unwrapped(done.stdout)
    kept = read(student)
    assert kept.provenance["trusted"] == [" ".join(option)]
    assert " ".join(option) in kept.provenance["command"]
    shown = json.loads(files.done("inspect", student, "--json").stdout)
    assert any(" ".join(option) in caution["reason"] for caution in shown["cautions"])
    looked = files.run("doctor", tmp_path / "t.pt", "--target", "same", *option)
    assert looked.exit_code == 0
    assert looked.stderr.startswith(f"WARNING: {option[0]}: ")
