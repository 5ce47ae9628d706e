"""Reads a torch.export program (.pt2) without running any of it.

torch.export.load trusts its file: it unpickles what weights-only loading refuses, hands the sizes' expressions to
sympy, which evaluates them as Python, writes the arguments' names into Python code that it compiles, looks calls up by
any dotted name under torch, imports modules that argument trees name, and loads compiled libraries. So every record is
held against what a plain network needs, before torch sees it.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from idsnn_convert.passes.equal import program_reference
from idsnn_convert.passes.load.records import check_records, opened, repacked
from idsnn_convert.passes.load.traced import at, traced_teacher
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.trace import canonical
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.bounds import parsed_json
from idsnn_convert.runtime.errors import UserError

RECORDS = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/\w+|\.format_version|\.storage_alignment|extra/.*"
    r"|models/[\w.-]+\.json|data/sample_inputs/[\w.-]+\.pt"
    r"|data/(weights|constants)/([\w.-]+_config\.json|(weight|tensor)_\d+|[\w.-]+\.pt)"
)
"""Records of a program without compiled code, objects of other classes, or anything unknown."""

CALLS = re.compile(
    r"torch\.ops\.aten\.(?!from_file\.|save\.)\w+\.\w+|torch\.sym_\w+|torch\.ops\.higher_order\.wrap_with_set_grad_enabled"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_)"
)
"""Calls of tensors and sizes; two of ATen's read and write files."""

PLAIN = re.compile(r"[\w.+-]*")
"""Names of nodes, tensors, layers, versions: nothing that Python code could be made of."""

FREE = ("as_string", "guards_code", "metadata")
"""Keys of text that is only shown, or becomes the value of a string."""

SYMBOL = re.compile(r"Symbol\('[a-z]+\d+'")
EXPRESSION = re.compile(r"(?:[A-Z][A-Za-z]*(?=\()|(?:positive|nonnegative|integer)(?==True)|(?<==)True|-?\d+|[(),= ])*")
FUNCTIONS = {
    "Symbol", "Integer", "Rational", "Add", "Mul", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv",
    "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "And", "Or", "Not",
}  # fmt: skip
"""What an expression of sizes may call."""

TREES = ("in_spec", "out_spec", "treespec")

_RESAVE = 'Save its weights alone where it was made: torch.save(program.state_dict, "weights.pt"). Nothing was executed.'


def load_exported(request: Request) -> Teacher:
    """The teacher in a torch.export program.

    Raises:
        UserError: if the file is damaged, holds more than a plain program, or was exported for other images.
    """
    path = request.path
    try:
        program = read_program(path)
        traced = canonical(program, "it")
        size = traced.graph.input_shape[1:]
        if request.input_size is not None and size != (request.input_size,) * 2:
            raise UserError(
                f"it was exported for {size[0]}x{size[1]} images, not for {request.input_size}x{request.input_size}",
                hint="Export it again with images of the other size, or leave out the input size.",
            )
        facts: dict[str, Any] = {
            "path": str(path),
            "sha256": request.sha256,
            "form": "exported program",
            "family": "torch.export program",
        }
        reference = program_reference(program, traced.graph.input_shape, traced.calls)
        return traced_teacher(traced, program.state_dict, **facts, arch=request.arch, reference=reference)
    except UserError as error:
        raise at(path, error) from error


def read_program(path: Path) -> ExportedProgram:
    """The one program in the archive; nothing in it is executed.

    Raises:
        UserError: if it is damaged, or holds what could run code.
    """
    with opened(path) as archive:
        check_records(path, archive.infolist())
        name = _check(archive)
        plain = repacked(archive)
    from torch.export.pt2_archive._package import load_pt2  # its imports are many

    with _weights_only():
        try:
            return load_pt2(plain).exported_programs[name]
        except Exception as error:  # damaged bytes can raise nearly anything
            raise UserError(
                f"torch {torch.__version__} cannot read this torch.export program: {type(error).__name__}: "
                f"{(str(error).splitlines() or [''])[0]}",
                hint="If another version of torch wrote it: " + _RESAVE,
            ) from error


def _check(archive: zipfile.ZipFile) -> str:
    """The name of the archive's one program, after every record has been looked through.

    Raises:
        UserError: at the first thing that no plain program has.
    """
    names = archive.namelist()
    if len({name.partition("/")[0] for name in names}) != 1:
        raise _more(f"records outside its folder, such as {names[-1]!r}")
    programs = []
    for name in names:
        record = name.partition("/")[2]
        if not RECORDS.fullmatch(record):
            raise _more(f"the record {record!r}, which is compiled code or an object of another class")
        if record.endswith(".pt"):
            _check_pickle(record, archive.read(name))
        elif record.endswith(".json"):
            _check_json(record, parsed_json(archive.read(name)))
        if record.startswith("models/"):
            programs.append(record.removeprefix("models/").removesuffix(".json"))
    if len(programs) != 1:
        raise UserError(f"it holds {len(programs)} programs: {', '.join(programs)}", hint="Export the teacher alone.")
    return programs[0]


def _check_pickle(record: str, data: bytes) -> None:
    if not data:
        return
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever stands in it, it is not tensors alone
        raise _more(f"in {record!r} other Python objects than tensors") from error


def _check_json(record: str, value: Any, key: str = "") -> None:
    """Looks through all keys and strings of a JSON record, ``value`` being that of ``key``."""
    if key in FREE:
        return
    if isinstance(value, dict):
        for inner, item in value.items():
            _check_json(record, inner)
            _check_json(record, item, inner)
    elif isinstance(value, list):
        for item in value:
            _check_json(record, item, key)
    elif key == "use_pickle" and value is not False:
        raise _more(f"pickled weights, says {record!r}")
    elif isinstance(value, str):
        what, fits = RULES.get(key, ("the name {}, which no tensor or layer has", PLAIN.fullmatch))
        if not fits(value):
            raise _more(what.format(repr(value[:200])))


def is_plain_expression(text: str) -> bool:
    """Whether ``text`` is arithmetic over size symbols, as sympy's ``srepr`` writes it; anything else may be Python."""
    rest = SYMBOL.sub("Symbol(0", text)
    return bool(EXPRESSION.fullmatch(rest)) and set(re.findall(r"[A-Z]\w*(?=\()", rest)) <= FUNCTIONS


def _is_plain_tree(text: str) -> bool:
    return not any(mark in text for mark in ("__enum__", "default_factory", "\\u"))


RULES: dict[str, tuple[str, Callable[[str], object]]] = {
    "target": ("a call of {}, which is no plain tensor operation", CALLS.fullmatch),
    "expr_str": ("the size {}, which is no plain arithmetic", is_plain_expression),
    "path_name": ("an object of another class, {}", re.compile(r"(weight|tensor)_\d+").fullmatch),
    **dict.fromkeys(TREES, ("arguments that name Python objects: {}", _is_plain_tree)),
}
"""A key -> what is wrong with a string of it, and whether one is as it should be."""


def _more(what: str) -> UserError:
    return UserError(f"it holds more than a plain program: {what}. Nothing was executed", hint=_RESAVE)


@contextmanager
def _weights_only() -> Iterator[None]:
    """Makes every torch.load a weights-only one, also those that ask for the contrary."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
