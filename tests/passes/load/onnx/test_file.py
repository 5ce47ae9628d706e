from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime.errors import UserError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx
from onnx import helper, numpy_helper

from idsnn_convert.passes.load.onnx import file
from idsnn_convert.passes.load.onnx.file import array, read_onnx
from tests.passes.load.onnx.made import floats, model, node

WEIGHT = floats(8, 3)
NODES = [node("Flatten", "x", "f"), node("Gemm", "f w", "y")]


def made(**more: Any) -> onnx.ModelProto:
    return model(NODES, (1, 2, 2, 2), {"w": WEIGHT}, **more)


def outside(location: str, **entries: object) -> onnx.ModelProto:
    """A model whose weight is kept elsewhere."""
    found = made()
    tensor = found.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return found


def written(content: onnx.ModelProto | bytes, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_told_as_such(share: float, tmp_path: Path) -> None:
    whole = made().SerializeToString()
    with pytest.raises(UserError, match=r"model.onnx: it (is no ONNX model, or is cut short|holds no ONNX network)"):
        load_teacher(written(whole[: int(share * len(whole))], tmp_path))


def test_another_protobuf_is_no_network(tmp_path: Path) -> None:
    other = onnx.StringStringEntryProto(key="k", value="v").SerializeToString()
    for content in (other, b"\x08\x07\x12\x03abc", b"\x08\x07\x3a\x00", b""):
        with pytest.raises(UserError, match="it holds no ONNX network, or is cut short"):
            read_onnx(written(content, tmp_path))


def test_damage_anywhere_gives_one_clear_message(tmp_path: Path) -> None:
    whole = bytearray(made().SerializeToString())
    random, told = np.random.default_rng(0), []
    for _ in range(200):
        broken = bytearray(whole)
        broken[int(random.integers(len(whole)))] = int(random.integers(256))
        path = written(bytes(b"\x08" + broken[1:]), tmp_path)
        try:
            load_teacher(path)
        except UserError as error:
            told.append(str(error).startswith(str(path)))
    assert len(told) > 20
    assert all(told)


def test_names_have_to_be_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a name in it is no text"):
        read_onnx(written(made().SerializeToString().replace(b"Gemm", b"\xffemm"), tmp_path))


def test_weights_beside_the_file_are_read_and_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"\0" * 16 + WEIGHT.tobytes())
    path = written(outside("data/w.bin", offset=16, length=WEIGHT.nbytes), tmp_path)
    teacher = load_teacher(path)
    assert teacher.tensors["linear.weight"].equal(torch.from_numpy(WEIGHT.T))
    digest = hashlib.sha256((tmp_path / "data" / "w.bin").read_bytes()).hexdigest()
    assert teacher.assumptions == (f"Weights were read from w.bin too (sha256 {digest}).",)
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_onnx_writes_beside_a_file_is_read(tmp_path: Path) -> None:
    onnx.save(made(), tmp_path / "a", save_as_external_data=True, location="w", size_threshold=0)
    assert read_onnx(tmp_path / "a").constants["w"].array.tolist() == WEIGHT.tolist()


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("w.bin", {}, "tensor 'w' is kept in 'w.bin', which is missing"),
        ("", {}, "tensor 'w' is kept in '', which is not in the folder"),
        (".", {}, "tensor 'w' is kept in '.', which is not in the folder"),
        ("../w.bin", {}, "is kept in '../w.bin', which is not in the folder"),
        ("a/../../w.bin", {}, "which is not in the folder"),
        ("link.bin", {}, "which is not in the folder of the file\nOnly files in the same folder are read"),
        ("links/w.bin", {}, "which is not in the folder"),
        ("short.bin", {}, "tensor 'w' lies beyond the end of short.bin, which holds 8 bytes"),
        ("short.bin", {"offset": -8}, "lies beyond the end"),
        ("short.bin", {"length": 8}, "needs 96 bytes and declares 8"),
        ("short.bin", {"offset": "x"}, "has no number for its place"),
    ],
)
def test_weights_that_are_not_there_or_elsewhere_are_refused(
    location: str, entries: dict[str, object], message: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    (home / "short.bin").write_bytes(b"\0" * 8)
    (home / "link.bin").symlink_to(tmp_path / "w.bin")
    (home / "links").symlink_to(tmp_path)
    with pytest.raises(UserError, match=message):
        load_teacher(written(outside(location, **entries), home))


def test_an_absolute_place_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(UserError, match="which is not in the folder"):
        read_onnx(written(outside(str(tmp_path / "w.bin")), tmp_path))


def test_tensors_that_together_declare_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 100)
    content = outside("w.bin")
    content.graph.initializer.add().CopyFrom(content.graph.initializer[0])
    content.graph.initializer[1].name = "v"
    read_onnx(written(content, tmp_path))  # the same bytes may serve twice
    content.graph.initializer[1].external_data.add(key="offset", value="4")
    with pytest.raises(UserError, match="tensor 'v' lies beyond the end"):
        read_onnx(written(content, tmp_path))


def test_a_named_pipe_is_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.bin")
    with pytest.raises(UserError, match="which is missing"):
        read_onnx(written(outside("w.bin"), tmp_path))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int64, np.int32, np.int8, np.uint8, np.bool_])
def test_numbers_are_read_in_either_form(dtype: type, tmp_path: Path) -> None:
    values: np.ndarray[Any, Any] = np.array([[0, 1], [1, 0]], dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for tensor in (numpy_helper.from_array(values, "w"), helper.make_tensor("w", kind, [2, 2], values.reshape(-1))):
        found = array(tensor, "w")
        assert (found.dtype, found.tolist()) == (dtype, values.tolist())


def tensor(kind: int = 1, dims: tuple[int, ...] = (2,), **fields: Any) -> onnx.TensorProto:
    return onnx.TensorProto(name="w", data_type=kind, dims=dims, **fields)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (tensor(raw_data=b"\0" * 7), r"tensor 'w' of shape \(2,\) does not have the numbers"),
        (tensor(float_data=[1.0]), "does not have the numbers"),
        (tensor(), "does not have the numbers"),
        (tensor(dims=(-1,)), r"has the impossible shape \(-1,\)"),
        (tensor(dims=(1 << 40, 1 << 40)), "has the impossible shape"),
        (tensor(dims=(1,) * 9), "has the impossible shape"),
        (tensor(kind=8, string_data=[b"a", b"b"]), "holds STRING numbers, which are not read"),
        (tensor(kind=17), "holds FLOAT8E4M3FN numbers"),
        (tensor(kind=99), r"holds \? numbers"),
        (tensor(data_location=1), "the constant 'w' is kept outside the model"),
    ],
)
def test_a_tensor_without_its_numbers_is_refused(made: onnx.TensorProto, message: str) -> None:
    with pytest.raises(UserError, match=message):
        array(made, "w")


def test_what_is_not_covered_as_a_whole_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function = helper.make_function("own", "f", ["a"], ["b"], [node("Relu", "a", "b")], [helper.make_opsetid("", 17)])
    with pytest.raises(UserError, match=r"it defines operators of its own \(f\)"):
        read_onnx(written(made(functions=[function]), tmp_path))
    sparse = made()
    sparse.graph.sparse_initializer.add()
    with pytest.raises(UserError, match="it holds sparse tensors"):
        read_onnx(written(sparse, tmp_path))
    twice = made()
    twice.graph.initializer.add().CopyFrom(twice.graph.initializer[0])
    with pytest.raises(UserError, match="the name 'w' of a tensor is empty or used twice"):
        read_onnx(written(twice, tmp_path))
    monkeypatch.setattr(file, "LARGEST_FILE", 10)
    with pytest.raises(UserError, match="it is larger than the 2 GiB"):
        read_onnx(written(made(), tmp_path))


@pytest.mark.parametrize("location", ["a\0b", "a" * 5000])
def test_a_place_that_no_file_can_have_is_told(location: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which is no file's name"):
        read_onnx(written(outside(location), tmp_path))


def test_a_tensor_in_pieces_is_refused(tmp_path: Path) -> None:
    found = made()
    found.graph.initializer[0].segment.begin = 1
    with pytest.raises(UserError, match="does not have the numbers that it needs"):
        read_onnx(written(found, tmp_path))
