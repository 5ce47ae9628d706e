"""From a path to a :class:`~idsnn_convert.passes.types.Teacher`."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

from idsnn_convert.passes.load.detect import detect, refusal
from idsnn_convert.passes.load.forms import FORMS
from idsnn_convert.passes.load.timm_name import is_timm_name, load_timm
from idsnn_convert.passes.load.trusted import load_trusted
from idsnn_convert.passes.load.types import NOTHING, Request, Trust
from idsnn_convert.passes.resnet.archs import find_arch
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.errors import UserError

TRUSTED = ("torch archive", "legacy torch")
"""Forms that an owner can vouch for; the others have nothing to call, or no way to call it."""


def load_teacher(
    path: str | Path, *, arch: str | None = None, input_size: int | None = None, trust: Trust = NOTHING
) -> Teacher:
    """The trained network in a file, in canonical form. The file's content decides how it is read; no code in it runs,
    unless ``trust`` says so, which the teacher then tells of itself.

    ``timm:MODEL@FILE`` stands for timm's MODEL with the weights in FILE.

    Weights stored as float16, bfloat16 or float64 are converted to float32, and the teacher's assumptions say so.

    Args:
        arch: what the network must be, such as ``resnet18``; None to take what is found.
        input_size: height and width of its images; None for the usual one: 28 for one channel, else 32 behind a 3x3 stem
            and 224 behind a 7x7 one.
        trust: what a torch.save file may call.

    Raises:
        UserError: if there is no such file, it is of another kind, damaged or unsafe, or holds no network that is known;
            each time naming what was found and the way out.
    """
    if arch is not None:
        find_arch(arch, "architecture")
    if is_timm_name(path) and not trust.told:
        return load_timm(str(path), arch=arch, input_size=input_size)
    place = Path(path)
    form = detect(place)
    if trust.told and form not in TRUSTED:
        told = f"{', '.join(trust.told)} is for torch.save files; {place} is {FORMS[form].what}"
        raise UserError(told, hint="Leave it out.")
    if not FORMS[form].loader:
        raise refusal(place, form)
    load = load_trusted if trust.told else FORMS[form].load
    with ThreadPoolExecutor(1) as beside:  # hashing needs no lock of Python's
        digest = beside.submit(_digest, place)
        teacher = load(Request(place, "", arch, input_size, trust))
        return replace(teacher, sha256=digest.result(), trusted=trust.told)


def _digest(path: Path) -> str:
    """Of the file in one piece: between pieces it would wait for Python's lock."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as whole:
        return hashlib.sha256(whole).hexdigest()
