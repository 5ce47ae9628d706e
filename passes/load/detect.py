"""What a file is, by its content; its name is never asked. The kinds: :data:`idsnn_convert.passes.load.forms.FORMS`."""

from __future__ import annotations

import zipfile
from pathlib import Path

from idsnn_convert.passes.load.forms import FORMS, HEAD, Content
from idsnn_convert.passes.load.records import check_directory
from idsnn_convert.runtime.errors import UserError


def detect(path: Path) -> str:
    """The form of the file: a key of :data:`~idsnn_convert.passes.load.forms.FORMS`.

    Raises:
        UserError: if there is no such file, or it cannot be read.
    """
    content = _content(path)
    return next(name for name, form in FORMS.items() if form.sign(content))


def _content(path: Path) -> Content:
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir() if entry.is_file())[:6]
        raise UserError(f"{path} is a folder", hint=f"Name a file in it: {', '.join(inside)}." if inside else "It is empty.")
    try:
        with path.open("rb") as file:
            content = Content(file.read(HEAD))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return Content(content.head, _entries(path)) if content.is_zip else content


def _entries(path: Path) -> tuple[str, ...] | None:
    try:
        check_directory(path)
        with zipfile.ZipFile(path) as archive:
            return tuple(name.partition("/")[2] for name in archive.namelist())  # all stands in one folder
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return None


def refusal(path: Path, form: str) -> UserError:
    """The error for a file whose form no loader reads."""
    return UserError(f"{path} is {FORMS[form].what}", hint=FORMS[form].way_out.replace("FILE", repr(str(path))))
