"""Reads a TorchScript archive without running its code.

torch.jit.load compiles the archive's code and runs of it only the ``__setstate__`` of its classes; so an archive with
such methods, or with objects of C++ classes, is refused before. What remains is the graph of ``forward``. Its calls are
held against the tensor operations that have a canonical form, and only then does torch's converter trace it, without
values, to the form that torch.export gives.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.passes.aten import ATEN
from idsnn_convert.passes.equal import Reference, program_reference
from idsnn_convert.passes.load.records import check_records, opened, repacked
from idsnn_convert.passes.load.traced import at, image_shape, traced_teacher
from idsnn_convert.passes.load.trial import tried
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.trace import canonical
from idsnn_convert.passes.types import Canonical, Teacher
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape
from idsnn_convert.runtime.steps import check_steps

LARGEST_CODE = 16 << 20
"""Most bytes of an archive's code and descriptions, unpacked."""

MOST_CALLS = 100_000
"""Calls that its graph may have, those of all its modules in the place of their own."""

PRIM = {
    "Constant", "GetAttr", "ListConstruct", "ListUnpack", "TupleConstruct", "TupleUnpack", "TupleIndex", "NumToTensor",
    "If", "Loop", "RaiseException", "Uninitialized", "unchecked_cast", "device", "dtype", "data", "min", "max",
}  # fmt: skip
ATEN_BESIDE = {
    "_convolution", "size", "Int", "Bool", "len", "dim", "numel", "format", "append", "eq", "ne", "lt", "le", "gt",
    "ge", "sub", "neg", "floordiv", "floor_divide", "remainder", "ScalarImplicit", "IntImplicit", "is_floating_point",
    "t", "matmul", "sqrt", "pow", "div", "rsqrt",
}  # fmt: skip
"""Calls of sizes, lists and conditions, which the converter or the canonical form knows how to do without."""

_RESAVE = (
    "Save its weights alone where it was made, and give those: "
    'torch.save(torch.jit.load(FILE).state_dict(), "weights.pt"); or save it with torch.export.'
)


def load_torchscript(request: Request) -> Teacher:
    """The teacher in a TorchScript archive.

    Raises:
        UserError: if the file is damaged, holds what could run code, or makes calls that have no canonical form.
    """
    path = request.path
    try:
        module = read_script(path)
        shape, notes = image_shape(module.modules(), request.input_size)
        traced, reference = _converted(module, shape)
        family = f"TorchScript {getattr(module, 'original_name', 'module')}"
        facts: dict[str, Any] = {"path": str(path), "sha256": request.sha256, "form": "TorchScript", "family": family}
        return traced_teacher(traced, module.state_dict(), **facts, arch=request.arch, notes=notes, reference=reference)
    except UserError as error:
        raise at(path, error) from error


def read_script(path: Path) -> Any:
    """The archive's module, in eval mode; nothing of it has run.

    Raises:
        UserError: if it is damaged, or holds what could run code.
    """
    with opened(path) as archive:
        records = archive.infolist()
        check_records(path, records, packed=_is_code)
        told = [record for record in records if record.filename.endswith((".py", ".pkl")) or _is_code(record.filename)]
        if (total := sum(record.file_size for record in told)) > LARGEST_CODE:
            raise UserError(f"its code and descriptions are {total:,} bytes long; at most {LARGEST_CODE:,} are read")
        for record in told:
            _check_text(record.filename, archive.read(record))
        plain = repacked(archive, without=".debug_pkl")  # read late, by C++, and of use to its author alone
    with _quiet():
        try:
            tried(lambda: _compiled(plain), within=2 * path.stat().st_size)
            module, kinds = _compiled(plain)
        except UserError as error:
            raise UserError(f"its code {error.problem}. It was tried in a process of its own", hint=_RESAVE) from error
        except Exception as error:  # damaged bytes can raise nearly anything
            raise UserError(f"torch {torch.__version__} cannot read it: {_first_line(error)}", hint=_RESAVE) from error
    if foreign := sorted(kind for kind in kinds if not is_plain(kind)):
        raise UserError(f"its TorchScript calls {', '.join(foreign)}, which have no canonical form", hint=_RESAVE)
    return module


def _compiled(archive: io.BytesIO) -> tuple[Any, set[str]]:
    """The module, and the kinds of its calls. Code that goes too deep, or says more than memory holds, ends the process.

    Raises:
        ValueError: if it makes too many calls.
    """
    archive.seek(0)
    module: Any = torch.jit.load(archive, map_location="cpu")
    module.eval()
    kinds = Counter(_kinds(module.inlined_graph))
    if kinds.total() > MOST_CALLS:
        raise ValueError(f"it makes {kinds.total():,} calls; at most {MOST_CALLS:,} are read")
    return module, set(kinds)


def _is_code(name: str) -> bool:
    return name.partition("/")[2].startswith("code/")


def _check_text(name: str, data: bytes) -> None:
    if name.endswith(".pkl"):
        check_steps(f"its record {name!r}", data)
    for mark, what in ((b"__setstate__", "a method that runs when it is loaded"), (b"torch.classes", "a C++ object")):
        if mark in data:
            raise UserError(f"its record {name!r} holds {what} ({mark.decode()}). Nothing was executed", hint=_RESAVE)


def _kinds(block: Any) -> Iterator[str]:
    """The kinds of all calls of a TorchScript graph, nested blocks included: ``aten::relu_``."""
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)


def is_plain(kind: str) -> bool:
    """Whether a call only computes with tensors, sizes and lists, in a way that is known."""
    space, _, name = kind.partition("::")
    if space == "prim":
        return name in PRIM
    return space == "aten" and (name.rstrip("_") in ATEN or name in ATEN_BESIDE or name.startswith("__"))


def _converted(module: Any, shape: Shape) -> tuple[Canonical, Reference | None]:
    from torch._export.converter import TS2EPConverter  # its imports are many

    like = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), torch.empty(0))
    with _quiet(), torch.no_grad():
        try:
            program = TS2EPConverter(module, (torch.zeros(2, *shape, dtype=like.dtype),)).convert()
        except Exception as error:  # the converter names few of its limits
            raise UserError(
                f"torch {torch.__version__} cannot convert its TorchScript for images {shape}: {_first_line(error)}",
                hint=f"If its images are of another size, give it as the input size. {_RESAVE}",
            ) from error
    traced = canonical(program, "its TorchScript")
    return traced, program_reference(program, shape, traced.calls)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"


EXPECTED = ((DeprecationWarning, ".*torch.jit.*deprecated"), (UserWarning, "Manually populate|Pred is a Python constant"))
"""Warnings of torch's own making: TorchScript is deprecated; a module's tensors are unused; a condition is known beforehand."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the expected warnings and torch's logs: what matters comes as an error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            for category, message in EXPECTED:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        logging.disable(before)
