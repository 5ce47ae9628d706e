"""Wheel, source archive, editable install and bare checkout hold the same package, once, under one name."""

from __future__ import annotations

import email
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import idsnn_convert

ROOT = Path(__file__).resolve().parent.parent
INSTALLED_AS = {"idsnn_convert": "idsnn_convert", "passes": "idsnn_convert/passes", "runtime": "idsnn_convert/runtime"}
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")


def backend(call: str, source: Path, out: Path) -> Path:
    """What the build backend's ``call`` makes of the project in ``source``; needs no network."""
    out.mkdir(parents=True, exist_ok=True)
    script = f"from setuptools import build_meta; print(build_meta.{call}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("checkout") / "project", ignore=NOT_COPIED))


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    with tarfile.open(backend("build_sdist", checkout, out)) as archive:
        archive.extractall(out, filter="data")
    (unpacked,) = (path for path in out.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the source archive, unpacked as an installer would."""
    out = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(backend("build_wheel", sdist, out)) as archive:
        archive.extractall(out / "site")
    return out / "site"


@pytest.fixture(scope="module")
def editable(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("editable")
    with zipfile.ZipFile(backend("build_editable", checkout, out)) as archive:
        archive.extractall(out / "site")
    return out / "site"


def source_files(room: str) -> list[Path]:
    folder = ROOT / room
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts and path.name[0] != "."]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_holds_every_source_file_under_its_installed_name_and_nothing_else(wheel: Path) -> None:
    expected = {
        f"{installed}/{path.relative_to(ROOT / room).as_posix()}"
        for room, installed in INSTALLED_AS.items()
        for path in source_files(room)
    }
    assert {name for name in files(wheel) if ".dist-info/" not in name} == expected
    assert "idsnn_convert/py.typed" in expected


def test_the_source_archive_holds_what_building_and_testing_need(sdist: Path) -> None:
    sources = {path.relative_to(ROOT).as_posix() for room in INSTALLED_AS for path in source_files(room)}
    tests = {f"tests/{path.relative_to(ROOT / 'tests').as_posix()}" for path in (ROOT / "tests").rglob("*.py")}
    rest = {"LICENSE", "Makefile", "constraints.txt", "pyproject.toml", "setup.py"}
    assert sources | tests | rest <= files(sdist)


def dist_info(wheel: Path, file: str) -> str:
    (folder,) = wheel.glob("idsnn_convert-*.dist-info")
    return (folder / file).read_text()


def test_metadata(wheel: Path) -> None:
    metadata = email.message_from_string(dist_info(wheel, "METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("idsnn-convert", idsnn_convert.__version__)
    assert set(metadata.get_all("Provides-Extra", [])) == {
        "gpu",
        "cpu",
        "zoo",
        "nir",
        "spikingjelly",
        "track",
        "plot",
        "data",
        "docs",
        "triton",
        "test",
    }
    assert "the idsnn-convert authors" in dist_info(wheel, "licenses/LICENSE")


def test_version_is_the_same_wherever_it_is_written() -> None:
    assert f"\nversion: {idsnn_convert.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_dependency_is_pinned_to_a_version_that_all_indexes_have() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {
        Requirement(line).name
        for lines in (project["dependencies"], *project["optional-dependencies"].values())
        for line in lines
    }
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert asked <= {pin.name for pin in pins}
    assert [str(pin) for pin in pins if re.fullmatch(r"==[\w.]+", str(pin.specifier)) is None] == []


def commands(wheel: Path) -> dict[str, str]:
    entries = ConfigParser()
    entries.read_string(dist_info(wheel, "entry_points.txt"))
    return dict(entries["console_scripts"])


def test_commands(wheel: Path) -> None:
    assert commands(wheel) == {"idsnn-convert": "idsnn_convert.process:convert_main", "idsnn": "idsnn_convert.process:main"}


def test_every_command_names_a_function(wheel: Path) -> None:
    for target in commands(wheel).values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


PROBE = """
import json, os, site, sys
for folder in sys.argv[1:]:
    site.addsitedir(folder)
import idsnn_convert, idsnn_convert.runtime, idsnn_convert.passes.types
print(json.dumps([(name, os.path.realpath(module.__file__)) for name, module in sys.modules.items()
                  if name.split(".")[0] in ("idsnn_convert", "passes", "runtime") and getattr(module, "__file__", None)]))
"""


def modules(cwd: Path, *site: Path) -> dict[str, Path]:
    """Name -> file of this project's modules, as imported by a fresh interpreter in ``cwd`` with the folders ``site``.

    Its own site folder, where the project may be installed too, gives torch and the like but runs no ``.pth`` file (-S).
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*site, Path(torch.__file__).parent.parent)))}
    command = [sys.executable, "-S", "-c", PROBE, *map(str, site)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: Path(file) for name, file in json.loads(done.stdout)}


def assert_one_copy(found: dict[str, Path], root: Path) -> None:
    assert {"idsnn_convert", "idsnn_convert.passes", "idsnn_convert.runtime", "idsnn_convert.runtime.graph"} <= found.keys()
    assert [name for name in found if name.split(".")[0] != "idsnn_convert"] == []
    assert [file for file in found.values() if not file.is_relative_to(root.resolve())] == []
    assert len(set(found.values())) == len(found)


def test_installed_from_the_wheel(wheel: Path) -> None:
    assert_one_copy(modules(wheel), wheel)


def test_a_checkout_that_is_not_installed(checkout: Path) -> None:
    assert_one_copy(modules(checkout), checkout)


def test_installed_editable(editable: Path, checkout: Path, tmp_path: Path) -> None:
    assert_one_copy(modules(tmp_path, editable), checkout)


def test_installed_editable_and_run_inside_the_checkout(editable: Path, checkout: Path) -> None:
    assert_one_copy(modules(checkout, editable), checkout)
