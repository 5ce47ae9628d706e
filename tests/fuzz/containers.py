"""Mutators of containers that know their form: zip archives, pickles, safetensors files."""

from __future__ import annotations

import io
import json
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Mapping
from random import Random

from idsnn_convert.runtime.seal import KEY as SEAL
from tests.fuzz.odd import NUMBERS, Bytes, bytes_changed, json_changed, text_of, value_changed

CALLS = (
    "posix system", "os mkdir", "builtins eval", "builtins exec", "builtins getattr", "builtins bytearray", "subprocess Popen",
    "torch FloatTensor", "torch.storage UntypedStorage", "torch.nn.modules.linear Linear", "torch.nn.modules.module Module",
    "collections Counter", "torch.serialization load", "torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_qtensor",
    "torch._tensor _rebuild_from_type_v2", "numpy.core.multiarray scalar", "argparse Namespace", "_codecs encode",
    "torch.hub load", "timm.models.resnet ResNet", "webbrowser open", "pathlib PosixPath", "operator attrgetter",
)  # fmt: skip
"""What a pickle may ask Python for."""


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


ARGUMENTS = (
    *(_text(command) + b"t" for command in ("touch ran-code", "ran-code", "open('ran-code', 'w')")),
    *(sizes + b"t" for sizes in (b"J\xff\xff\xff\x3f", b"J\x60\xea\x00\x00" * 2)),
    b"t",
    b"}t",
)
"""Arguments of a call, the mark before them left out."""


def call(name: str, arguments: bytes) -> bytes:
    """Instructions that call ``name`` and drop nothing: the result stays on the stack."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + arguments + b"R"


def pickle_changed(rng: Random, data: bytes) -> bytes:
    """One to three instructions changed, left out, doubled or put in: calls, memo places, numbers, text, nesting."""
    try:
        starts = [position for _, _, position in pickletools.genops(data) if position is not None]
    except Exception:  # what is changed already may be no pickle
        return bytes_changed(rng, data)
    ends = [*starts[1:], len(data)]
    steps = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(1, len(steps)) if len(steps) > 1 else 0
        steps[at : at + 1] = _other_steps(rng, steps[at])
    return b"".join(steps)


def _other_steps(rng: Random, step: bytes) -> list[bytes]:
    code = step[:1]
    kind = rng.random()
    if code == b"c" and kind < 0.6:
        return [b"c" + rng.choice(CALLS).replace(" ", "\n").encode() + b"\n"]
    if code in (b"K", b"M", b"J") and kind < 0.7:
        return [_number(rng.choice(NUMBERS))]
    if code == b"X" and kind < 0.6:
        return [_text(text_of(rng))]
    if code in (b"q", b"r") and kind < 0.5:
        return [b"r" + struct.pack("<I", rng.choice((0, 5, 10**6, 0xFFFFFFFF)))]
    if kind < 0.75:
        return [call(rng.choice(CALLS), rng.choice(ARGUMENTS)), step]
    return rng.choice(
        (
            [],
            [step, step],
            [b"(", step],
            [b"0", step],
            [b"]" * 3000, b"a" * 2999, step],
            [bytes_changed(rng, step)],
            [b"2", step],
        )
    )


def _number(number: int) -> bytes:
    if -(2**31) <= number < 2**31:
        return b"J" + struct.pack("<i", number)
    raw = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)[:255]
    return b"\x8a" + bytes([len(raw)]) + raw


def read_zip(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(records: Mapping[str, bytes], packed: frozenset[str] = frozenset(), twice: str = "") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name that stands there twice
        for name, content in records.items():
            how = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
            for _ in range(2 if name == twice else 1):
                archive.writestr(name.encode("utf-8", "replace").decode(), content, how)
    return made.getvalue()


def zip_changed(inside: Mapping[str, Bytes]) -> Bytes:
    """A mutator of archives; ``inside`` says by the end of its name how a record's content is mutated, bytes otherwise."""

    def change(rng: Random, data: bytes) -> bytes:
        if rng.random() < 0.15:
            return bytes_changed(rng, data)
        records = read_zip(data)
        packed, twice = frozenset[str](), ""
        known = [name for name in records if name.endswith(tuple(inside))] or list(records)
        for _ in range(rng.randint(1, 2)):
            name = rng.choice(known if rng.random() < 0.8 else list(records))
            kind = rng.random()
            if kind < 0.7:
                how = next((mutator for end, mutator in inside.items() if name.endswith(end)), bytes_changed)
                records[name] = how(rng, records.get(name, b""))
            elif kind < 0.76:
                records.pop(name, None)
            elif kind < 0.82:
                folder = name.partition("/")[0]
                records[rng.choice((f"{folder}/{text_of(rng)}", text_of(rng), "../../x", f"{folder}/../../x"))] = records.get(
                    name, b""
                )
            elif kind < 0.88:
                packed = frozenset([name])
                records[name] = rng.choice((records.get(name, b""), bytes(8 << 20)))
            elif kind < 0.92:
                twice = name
            else:
                folder = name.partition("/")[0]
                records[f"{folder}/{rng.choice(EXTRA)}"] = records.get(name, b"")
        made = write_zip(records, packed, twice)
        return bytes_changed(rng, made) if rng.random() < 0.05 else made

    return change


EXTRA = (
    "data.pkl", "constants.pkl", "code/__torch__.py", ".data/extern_modules", "archive_format", "version", "byteorder",
    "models/model.json", "models/other.json", "data/weights/weight_0", "data/0", "data/aotinductor/model/x.so",
    "data/sample_inputs/model.pt", "data/constants/custom_obj_0", ".format_version",
)  # fmt: skip
"""Records of other kinds of archive."""


def safetensors_changed(rng: Random, data: bytes) -> bytes:
    """The header's JSON, the JSON in its metadata, its length, or the file as bytes."""
    length = int.from_bytes(data[:8], "little")
    head, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    kind = rng.random()
    if kind < 0.1:
        return bytes_changed(rng, data)
    for key, text in head.get("__metadata__", {}).items():
        if rng.random() < 0.9 and SEAL in text:  # else all that is told is that it is damaged
            head["__metadata__"][key] = json.dumps({name: fact for name, fact in json.loads(text).items() if name != SEAL})
    if kind < 0.2:
        return struct.pack("<Q", rng.choice((0, 1, length - 1, length + 1, 100 << 20, 2**63, 2**64 - 1))) + data[8:]
    if kind < 0.65 and (notes := head.get("__metadata__")):
        key = rng.choice(list(notes))
        notes[key] = json_changed(rng, notes[key].encode()).decode("utf-8", "replace")
        if rng.random() < 0.1:
            head["__metadata__"] = value_changed(rng, notes)
    else:
        for _ in range(rng.randint(1, 3)):
            head = value_changed(rng, head)
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + rest
