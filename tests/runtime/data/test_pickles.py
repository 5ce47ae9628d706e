from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idsnn_convert.runtime.data import pickles
from idsnn_convert.runtime.errors import UserError

IMAGES = np.arange(12, dtype=np.uint8).reshape(2, 6)


def load(tmp_path: Path, raw: bytes) -> Any:
    path = tmp_path / "batch"
    path.write_bytes(raw)
    return pickles.load(path)


def python2_array(dtype: bytes = b"u1", raw: bytes = IMAGES.tobytes()) -> bytes:
    """The opcodes that Python 2's cPickle wrote for IMAGES: names of the old numpy, and byte strings for text."""
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    kind = b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype + b"K\x00K\x01\x87R"
    kind += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return made + b"(K\x01K\x02K\x06\x86" + kind + b"\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"


def test_what_python_2_wrote(tmp_path: Path) -> None:
    batch = load(tmp_path, b"\x80\x02}(U\x04data" + python2_array() + b"U\x06labels](K\x03K\x07eu.")
    assert np.array_equal(batch["data"], IMAGES)
    assert batch["labels"] == [3, 7]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_this_python_writes(tmp_path: Path, protocol: int, order: Any) -> None:
    wanted = {"data": np.array(IMAGES, order=order), "labels": [1], "batch_label": b"one", "names": ["a", None, 2.5, True]}
    batch = load(tmp_path, pickle.dumps(wanted, protocol=protocol))
    assert np.array_equal(batch.pop("data"), IMAGES)
    assert batch == {key: value for key, value in wanted.items() if key != "data"}


class Hostile:
    def __init__(self, call: Any, *args: Any) -> None:
        self.call = call, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_foreign_name_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    raw = pickle.dumps({"labels": [1], "data": Hostile(os.mkdir, str(marker))}, protocol=protocol)
    with pytest.raises(UserError, match=r"asks for posix\.mkdir, .* nothing in it was executed\nUse the binary layout"):
        load(tmp_path, raw)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["builtins\neval", "numpy\nload", "numpy._core.multiarray\nfromfile", "_codecs\ndecode"])
def test_only_what_an_array_needs_is_admitted(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=name.replace("\n", r"\.")):
        load(tmp_path, b"\x80\x02c" + name.encode() + b"\n.")


def test_a_dotted_name_reaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"asks for numpy\.dtype\.__subclasses__"):
        load(tmp_path, b"\x80\x04\x8c\x05numpy\x8c\x14dtype.__subclasses__\x93.")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"cnumpy\nndarray\n(K\x01\x85tR.", r"calls numpy\.ndarray"),
        (b"cnumpy\nndarray\n}U\x01aK\x01sb.", "sets the state of a function"),
        (b"cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (python2_array(dtype=b"O8") + b".", "array of 'O8', not of uint8"),
        (python2_array(raw=b"short") + b".", "cannot reshape"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.", "encodes text as 'rot'"),
        (pickle.dumps(IMAGES.astype(np.float32), protocol=2)[2:], "array of 'f4', not of uint8"),
    ],
)
def test_an_admitted_name_does_no_more_than_restore_an_array_of_bytes(tmp_path: Path, raw: bytes, why: str) -> None:
    with pytest.raises(UserError, match=f"is truncated or not a pickled batch: .*{why}"):
        load(tmp_path, b"\x80\x02" + raw)


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_a_truncated_file_is_refused_with_its_size(tmp_path: Path, kept: int) -> None:
    raw = pickle.dumps({"data": IMAGES}, protocol=2)[:kept]
    with pytest.raises(UserError, match=rf"batch \({len(raw)} bytes\) is truncated"):
        load(tmp_path, raw)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*absent: No such file"):
        pickles.load(tmp_path / "absent")


def test_a_memo_place_that_nothing_filled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch names place 4,294,967,295 after 3 instructions"):
        load(tmp_path, b"\x80\x02]r" + struct.pack("<I", 0xFFFFFFFF) + b".")


def test_dicts_that_share_what_they_hold_are_not_followed(tmp_path: Path) -> None:
    value: Any = {}
    for _ in range(60):
        value = {"a": value, "b": value}
    assert set(load(tmp_path, pickle.dumps(value, 2))) == {"a", "b"}
