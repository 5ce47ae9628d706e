"""The kinds of file that are told apart, and what reads those that are teachers.

To read another kind, add its row to :data:`FORMS`; it names the loader, which stands in a file of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.types import Teacher

HEAD = 512
"""How many of a file's first bytes its sign sees."""

LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""The pickled number every file begins with that torch.save wrote before torch 1.6."""

_RESAVE = 'Save its weights alone where it was made: torch.save(model.state_dict(), "weights.pt").'
_DOWNLOAD = "Download or copy it again, and compare its size with the original's."


@dataclass(frozen=True)
class Content:
    """What of a file is looked at to tell its form.

    Attributes:
        head: its first :data:`HEAD` bytes.
        entries: of a zip archive, the names in it, without the folder that torch puts around them all; None if the file is
            no zip archive, or its directory cannot be read.
    """

    head: bytes
    entries: tuple[str, ...] | None = None

    @property
    def is_zip(self) -> bool:
        return self.head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


Sign = Callable[[Content], bool]


@dataclass(frozen=True)
class Form:
    """A kind of file.

    Attributes:
        what: completes "FILE is ...".
        sign: whether a file of this content is one.
        loader: what reads it, as ``module:function`` of this package, ``function(Request) -> Teacher``. It is imported when
            it is called. Without one, such files are refused.
        way_out: what the owner can do where the file is refused; ``FILE`` stands for its path.
    """

    what: str
    sign: Sign
    loader: str = ""
    way_out: str = _RESAVE

    def load(self, request: Request) -> Teacher:
        """The teacher in a file of this form.

        Raises:
            UserError: as the loader does.
        """
        return self.function()(request)

    def function(self) -> Callable[[Request], Teacher]:
        module, _, name = self.loader.partition(":")
        function: Callable[[Request], Teacher] = getattr(import_module(f"idsnn_convert.passes.load.{module}"), name)
        return function


def _starts(*marks: bytes) -> Sign:
    return lambda content: content.head.startswith(marks)


def _begins(*marks: bytes) -> Sign:
    """As :func:`_starts`, in small or large letters, behind white space."""
    return lambda content: content.head.lstrip().lower().startswith(tuple(mark.lower() for mark in marks))


def _holds(*needed: Callable[[str], bool]) -> Sign:
    """A zip archive with an entry for each of ``needed``."""
    return lambda content: content.entries is not None and all(any(map(fits, content.entries)) for fits in needed)


def _is_safetensors(content: Content) -> bool:
    return content.head[8:9] == b"{" and 2 <= int.from_bytes(content.head[:8], "little") <= 100 << 20


def _is_onnx(content: Content) -> bool:
    """A protobuf whose first field is a small number (the version) and whose next is one that ModelProto has."""
    head = content.head
    return head[:1] == b"\x08" and head[1:2] < b"\x30" and len(head) > 2 and head[2] in b"\x12\x1a\x22\x28\x32\x3a\x42"


def _is_text(content: Content) -> bool:
    head = content.head
    try:
        text = head.decode("utf-8", "strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        return False
    return len(text) > 0.9 * len(head) and all(c.isprintable() or c.isspace() for c in text)


FORMS: dict[str, Form] = {
    "empty": Form("empty", lambda content: not content.head, way_out=_DOWNLOAD),
    "TorchScript": Form(
        "a TorchScript archive",
        _holds("constants.pkl".__eq__, lambda name: name.startswith("code/")),
        "torchscript:load_torchscript",
        'Save its weights alone, if you trust it: torch.save(torch.jit.load(FILE).state_dict(), "weights.pt").',
    ),
    "torch package": Form(
        "a torch.package archive, which carries code and cannot be read without running it",
        _holds(".data/extern_modules".__eq__),
    ),
    "exported program": Form(
        "a torch.export program (.pt2)",
        _holds(lambda name: name == "archive_format" or name.startswith("models/")),
        "exported:load_exported",
        'Save its weights alone, if you trust it: torch.save(torch.export.load(FILE).state_dict, "weights.pt").',
    ),
    "torch archive": Form("a torch.save archive", _holds("data.pkl".__eq__), "state_dict:load_archive"),
    "zip": Form(
        "a zip archive without a checkpoint in it", _holds(), way_out="If the checkpoint is packed inside, unpack it first."
    ),
    "cut zip": Form(
        "the beginning of a zip archive, such as torch.save writes, but cut short or damaged",
        lambda content: content.is_zip,
        way_out=_DOWNLOAD,
    ),
    "legacy torch": Form("a torch.save file from before torch 1.6", _starts(LEGACY_MAGIC), "state_dict:load_legacy"),
    "pickle": Form(
        "a Python pickle that torch.save did not write; unpickling could run any code",
        _starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
    ),
    "tar": Form(
        "a tar archive (torch.save wrote such files before torch 0.1.10)",
        lambda content: content.head[257:262] == b"ustar",
        way_out="Unpack it first; else save the weights anew.",
    ),
    "HDF5": Form("an HDF5 file", _starts(b"\x89HDF\r\n"), "nir_file:load_nir", "Of HDF5 files NIR graphs alone are read."),
    "NumPy": Form(
        "a NumPy array file",
        _starts(b"\x93NUMPY"),
        way_out='Save the weights as a state dict: torch.save({name: tensor}, "weights.pt").',
    ),
    "gzip": Form("a gzip file", _starts(b"\x1f\x8b"), way_out="Unpack it first."),
    "image": Form(
        "an image",
        _starts(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*"),
        way_out="Give the trained network's file.",
    ),
    "safetensors": Form("a safetensors file", _is_safetensors, "state_dict:load_safetensors"),
    "LFS pointer": Form(
        "a git-lfs pointer, not the file it stands for",
        _begins(b"version https://git-lfs", b"version https://hawser"),
        way_out="Fetch the content: git lfs pull.",
    ),
    "web page": Form(
        "a web page, saved in place of the file",
        _begins(b"<!doctype html", b"<html", b"<?xml", b"<head"),
        way_out="Download the file itself (its raw or resolve address).",
    ),
    "ONNX": Form("an ONNX model", _is_onnx, "onnx.teacher:load_onnx"),
    "text": Form("a text file", _is_text, way_out="Give the trained network's file."),
    "unknown": Form("of no known kind", lambda _: True, way_out="Give a state dict that torch.save or safetensors wrote."),
}
"""In the order in which they are asked: a file is of the first form whose sign says yes."""
