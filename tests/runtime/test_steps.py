from __future__ import annotations

import io
import pickle
import struct

import pytest

from idsnn_convert.runtime import steps
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.steps import check_steps


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_what_pickle_writes_passes(protocol: int) -> None:
    data = pickle.dumps({"a": [1.5, "x", {"b": (2, None)}] * 30, "c": "x" * 5000}, protocol)
    check_steps("it", data)


def test_a_file_is_read_up_to_the_end_of_its_pickle() -> None:
    file = io.BytesIO(pickle.dumps([1, 2], 2) + b"behind")
    check_steps("it", file)
    assert file.read() == b"behind"


def test_a_memo_place_that_nothing_filled_is_refused() -> None:
    # Python's own reader in C would make a table of 64 GB for it.
    data = b"\x80\x02]r" + struct.pack("<I", 0xFFFFFFFF) + b"."
    with pytest.raises(UserError, match="it names place 4,294,967,295 after 3 instructions"):
        check_steps("it", data)


def test_too_many_instructions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MOST_STEPS", 50)
    with pytest.raises(UserError, match="more than 50 instructions"):
        check_steps("it", pickle.dumps(list(range(100)), 2))


@pytest.mark.parametrize("name", [b"builtins\nbytearray\n", b"__builtin__\nbytearray\n"])
def test_a_buffer_of_any_size_is_refused(name: bytes) -> None:
    with pytest.raises(UserError, match="asks Python for a buffer of any size"):
        check_steps("it", b"\x80\x02c" + name + b"J\xff\xff\xff\x7f\x85R.")


def test_a_name_without_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"a name of 10,00\d characters"):
        check_steps("it", b"\x80\x02c" + b"a" * 10_000 + b"\nb\n.")


def test_what_is_no_pickle_is_for_the_caller_to_tell() -> None:
    with pytest.raises(ValueError, match="opcode"):
        check_steps("it", b"\x80\x02\xff")
