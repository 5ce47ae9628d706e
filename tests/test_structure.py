"""The shape of the source: which room imports which, what an import drags in, and what a file may look like."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("runtime", "passes", "idsnn_convert")
SOURCES = {path.relative_to(ROOT).as_posix(): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}
TESTS = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "tests").rglob("*.py"))}
LONGEST_FILE = 400

MAY_IMPORT = {
    "runtime": ("idsnn_convert.runtime",),
    "passes": ("idsnn_convert.runtime", "idsnn_convert.passes"),
    "idsnn_convert": ("idsnn_convert",),
}
# Names handed on, a call of the command line, the one exception, records without behaviour.
UNMIRRORED = ("__init__.py", "__main__.py", "errors.py", "types.py", "values.py")
# Rows of one table, tested through it.
TESTED_WITH = {"passes/aten_layers.py": "passes/aten.py", "passes/aten_maps.py": "passes/aten.py"}
NOT_IN_RUNTIME = (
    "click",
    "matplotlib",
    "networkx",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "PIL",
    "pyarrow",
    "rich",
    "tensorboard",
    "timm",
    "torchvision",
)
# Each is about one foreign format or language and imports its library.
FORMATS = ("runtime/export/onnx/", "runtime/export/nir/", "runtime/triton_kernels.py")
IMPORTED_AS = {"pillow": "PIL"}
# In two parts, so that the words are not found here.
UNFINISHED = re.compile("|".join(rf"\b{a}{b}\b" for a, b in (("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK"))))
MACHINE_PATH = re.compile(r"""(?<![\w.])/(?:home|root|tmp|work|mnt|opt|Users)/""")


# Not what click calls adding to a help text.
WRITES = re.compile(r"""(?<!formatter)\.write_(?:text|bytes)\(|\bsave_file\(|\bopen\([^)]*["'][wax]b?\+?["']""")
# All or nothing is what runtime/files.py is for. These write into the place it gives them, a scratch folder or a lock.
WRITERS = {
    "runtime/files.py",
    "runtime/described.py",
    "runtime/run_folder.py",
    "runtime/sealed_file.py",
    "runtime/data/download.py",
    "runtime/data/publishers.py",
    "runtime/data/unpack.py",
    "runtime/export/spikingjelly/check.py",
    "idsnn_convert/exporters.py",
}


def imported(source: str) -> Iterator[str]:
    """Dotted names a module imports, wherever in it; those of a relative import begin with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + ".".join(filter(None, (node.module, name.name))) for name in node.names)


def against_the_grain(room: str, source: str) -> list[str]:
    """The imports of ``source`` that a file in ``room`` may not have."""
    ours = [name for name in imported(source) if name.startswith(".") or name.split(".")[0] in (*ROOMS, "tests", "benchmarks")]
    return [name for name in ours if not any(f"{name}.".startswith(f"{allowed}.") for allowed in MAY_IMPORT[room])]


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("runtime", "from idsnn_convert.passes.match import match"),
        ("runtime", "from idsnn_convert import passes"),
        ("runtime", "from idsnn_convert import __version__"),
        ("runtime", "import idsnn_convert.runtime_extra"),
        ("runtime", "def f():\n    import idsnn_convert.cli"),
        ("runtime", "from . import graph"),
        ("runtime", "from runtime import graph"),
        ("passes", "if TYPE_CHECKING:\n    from idsnn_convert.cli import main"),
        ("passes", "from ..runtime import graph"),
        ("idsnn_convert", "from passes.match import match"),
        ("idsnn_convert", "from tests.conftest import data"),
    ],
)
def test_an_import_against_the_grain_is_seen(room: str, line: str) -> None:
    assert len(against_the_grain(room, line)) == 1


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("runtime", "from idsnn_convert.runtime import graph\nimport torch.nn"),
        ("passes", "from idsnn_convert.runtime.graph import Graph\nfrom idsnn_convert.passes import match"),
        ("idsnn_convert", "from idsnn_convert import __version__\nfrom idsnn_convert.passes.match import match"),
    ],
)
def test_an_import_with_the_grain_passes(room: str, line: str) -> None:
    assert against_the_grain(room, line) == []


@pytest.mark.parametrize("name", SOURCES)
def test_imports_go_one_way(name: str) -> None:
    assert against_the_grain(name.split("/")[0], SOURCES[name].read_text()) == []


@pytest.mark.parametrize("line", ["place.write_text(x)", "place.open('wb')", 'open(place, "a+")', "save_file(tensors, place)"])
def test_a_file_that_is_written_is_seen(line: str) -> None:
    assert WRITES.search(line)
    assert not WRITES.search("write_text(place, x)\nplace.open('rb')\nopen(place)")


def test_files_are_written_all_or_nothing() -> None:
    assert {name for name, path in SOURCES.items() if WRITES.search(path.read_text())} == WRITERS


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "test" for line in lines]
    declared = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in (*project["dependencies"], *extras)}
    declared = {IMPORTED_AS.get(name, name) for name in declared}
    used = {name.split(".")[0] for path in SOURCES.values() for name in imported(path.read_text())}
    assert used - declared - sys.stdlib_module_names - {"idsnn_convert"} == set()


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after ``statement``; logging and devices must be untouched."""
    probe = (
        f"import json, logging, sys\n{statement}\nassert not logging.root.handlers, 'logging is configured'\n"
        "assert 'torch' not in sys.modules or not sys.modules['torch'].cuda.is_initialized(), 'a device is touched'\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", probe],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_the_runtime_brings_in_no_optional_library() -> None:
    own = [name for name in SOURCES if name.startswith("runtime/") and not name.startswith(FORMATS)]
    modules = [f"idsnn_convert.{name[:-3].replace('/', '.')}" for name in own]
    found = loaded_by(f"import {', '.join(modules).replace('.__init__', '')}")
    assert "idsnn_convert" in found
    assert found.isdisjoint(NOT_IN_RUNTIME)


@pytest.mark.parametrize("module", ["idsnn_convert", "idsnn_convert.cli"])
def test_the_front_door_opens_without_torch(module: str) -> None:
    assert "torch" not in loaded_by(f"import {module}")


@pytest.mark.parametrize("name", SOURCES | TESTS)
def test_a_file_is_short_and_finished_and_names_no_machine(name: str) -> None:
    text = (ROOT / name).read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    assert UNFINISHED.search(text) is None
    assert MACHINE_PATH.search(text) is None


def test_unfinished_work_and_machine_paths_are_seen() -> None:
    assert UNFINISHED.search("x = 1  # " + "TO" + "DO: more")
    assert MACHINE_PATH.search("open('" + "/" + "home/me/teacher.pth')")
    assert not MACHINE_PATH.search("data/home/teacher.pth, https://example.org/home/x")


def mirror(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"tests/{folder}/test_{file.lstrip('_')}"


@pytest.mark.parametrize("name", [name for name in SOURCES if name.rpartition("/")[2] not in UNMIRRORED])
def test_every_source_file_has_its_test_file(name: str) -> None:
    assert mirror(TESTED_WITH.get(name, name)) in TESTS


def test_every_source_folder_is_a_package() -> None:
    folders = {path.parent for path in SOURCES.values()}
    assert [folder.relative_to(ROOT).as_posix() for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
