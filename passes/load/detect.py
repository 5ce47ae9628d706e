"""What a file is, by its content; its name is never asked.

:data:`FORMS` lists the kinds of file that are told apart. :data:`idsnn_convert.passes.load.teacher.LOADERS` reads some of
them; the others are refused with the way out that stands here. To read another form, add its loader there.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from idsnn_convert.runtime.errors import UserError

LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""The pickled number every file begins with that torch.save wrote before torch 1.6."""

_RESAVE = 'Save its weights alone where it was made: torch.save(model.state_dict(), "weights.pt").'
_DOWNLOAD = "Download or copy it again, and compare its size with the original's."


@dataclass(frozen=True)
class Form:
    """A kind of file.

    Attributes:
        what: completes "FILE is ...".
        way_out: what its owner can do when no loader reads it; ``FILE`` stands for its path.
    """

    what: str
    way_out: str = _RESAVE


FORMS: dict[str, Form] = {
    "torch archive": Form("a torch.save archive"),
    "legacy torch": Form("a torch.save file from before torch 1.6"),
    "safetensors": Form("a safetensors file"),
    "TorchScript": Form(
        "a TorchScript archive",
        'Save its weights alone, if you trust it: torch.save(torch.jit.load(FILE).state_dict(), "weights.pt").',
    ),
    "exported program": Form(
        "a torch.export program (.pt2)",
        'Save its weights alone, if you trust it: torch.save(torch.export.load(FILE).state_dict, "weights.pt").',
    ),
    "torch package": Form("a torch.package archive, which carries code and cannot be read without running it"),
    "ONNX": Form("an ONNX model"),
    "zip": Form("a zip archive without a checkpoint in it", "If the checkpoint is packed inside, unpack it first."),
    "cut zip": Form("the beginning of a zip archive, such as torch.save writes, but cut short or damaged", _DOWNLOAD),
    "pickle": Form("a Python pickle that torch.save did not write; unpickling could run any code"),
    "tar": Form(
        "a tar archive (torch.save wrote such files before torch 0.1.10)", "Unpack it first; else save the weights anew."
    ),
    "HDF5": Form("an HDF5 file, such as Keras writes", "Only PyTorch weights are read."),
    "NumPy": Form("a NumPy array file", 'Save the weights as a state dict: torch.save({name: tensor}, "weights.pt").'),
    "gzip": Form("a gzip file", "Unpack it first."),
    "image": Form("an image", "Give the trained network's file."),
    "LFS pointer": Form("a git-lfs pointer, not the file it stands for", "Fetch the content: git lfs pull."),
    "web page": Form("a web page, saved in place of the file", "Download the file itself (its raw or resolve address)."),
    "text": Form("a text file", "Give the trained network's file."),
    "empty": Form("empty", _DOWNLOAD),
    "unknown": Form("of no known kind", "Give a state dict that torch.save or safetensors wrote."),
}

_HEAD = 512


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100 << 20


def _is_onnx(head: bytes) -> bool:
    """A protobuf whose first field is a small number (the version) and whose next is one that ModelProto has."""
    return head[:1] == b"\x08" and head[1:2] < b"\x30" and len(head) > 2 and head[2] in b"\x12\x1a\x22\x28\x32\x3a\x42"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", "strict" if len(head) < _HEAD else "ignore")
    except UnicodeDecodeError:
        return False
    return len(text) > 0.9 * len(head) and all(c.isprintable() or c.isspace() for c in text)


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip().lower().startswith(tuple(mark.lower() for mark in marks))


def _starts(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(marks)


SIGNS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("empty", lambda head: not head),
    ("legacy torch", _starts(LEGACY_MAGIC)),
    ("pickle", _starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")),
    ("tar", lambda head: head[257:262] == b"ustar"),
    ("HDF5", _starts(b"\x89HDF\r\n")),
    ("NumPy", _starts(b"\x93NUMPY")),
    ("gzip", _starts(b"\x1f\x8b")),
    ("image", _starts(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")),
    ("safetensors", _is_safetensors),
    ("LFS pointer", _begins(b"version https://git-lfs", b"version https://hawser")),
    ("web page", _begins(b"<!doctype html", b"<html", b"<?xml", b"<head")),
    ("ONNX", _is_onnx),
    ("text", _is_text),
)
"""A form -> whether a file that begins with these bytes is one; the first that says yes is it."""


def detect(path: Path) -> str:
    """The form of the file: a key of :data:`FORMS`.

    Raises:
        UserError: if there is no such file, or it cannot be read.
    """
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir() if entry.is_file())[:6]
        raise UserError(f"{path} is a folder", hint=f"Name a file in it: {', '.join(inside)}." if inside else "It is empty.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_form(path)
    return next((form for form, sign in SIGNS if sign(head)), "unknown")


def _zip_form(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]  # all stands in one folder
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return "cut zip"
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "TorchScript"
    if ".data/extern_modules" in names:
        return "torch package"
    if "archive_format" in names or any(name.startswith("models/") for name in names):
        return "exported program"
    return "torch archive" if "data.pkl" in names else "zip"


def refusal(path: Path, form: str) -> UserError:
    """The error for a file whose form no loader reads."""
    return UserError(f"{path} is {FORMS[form].what}", hint=FORMS[form].way_out.replace("FILE", repr(str(path))))
