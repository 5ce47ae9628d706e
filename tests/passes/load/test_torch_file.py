from __future__ import annotations

import argparse
import collections
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.passes.load.torch_file import Skipped, check_archive, foreign_globals, read_archive, read_legacy, read_mapped
from idsnn_convert.runtime.errors import UserError
from tests.passes.load.hostile import Hostile

Reader = Callable[[Path], Any]


def mapped(path: Path) -> Any:
    check_archive(path)
    return read_mapped(path)


BOTH = pytest.mark.parametrize(
    ("read", "archive"), [(read_archive, True), (mapped, True), (read_legacy, False)], ids=["archive", "mapped", "legacy"]
)


def saved(path: Path, content: Any, archive: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    return path


def repacked(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The archive written anew, each record as ``change`` makes it."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))
    return path


@BOTH
def test_tensors_come_back(read: Reader, archive: bool, tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(3, 2), "b": torch.ones(2, dtype=torch.bfloat16)}
    found = read(saved(tmp_path / "a.safetensors", {"model": weights, "epoch": 3}, archive))  # torch would go by the ending
    assert found["epoch"] == 3
    assert all(torch.equal(found["model"][name], tensor) for name, tensor in weights.items())


@BOTH
def test_settings_and_scores_beside_the_weights_are_skipped(read: Reader, archive: bool, tmp_path: Path) -> None:
    beside = {"args": argparse.Namespace(lr=0.1), "best": np.float64(93.1), "epoch": np.int64(9)}
    found = read(saved(tmp_path / "a.pt", {"w": torch.ones(2), **beside}, archive))
    assert torch.equal(found["w"], torch.ones(2))
    assert {type(found[key]) for key in beside} == {Skipped}


@BOTH
def test_a_hostile_file_is_refused_and_not_run(read: Reader, archive: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2), "x": Hostile(tmp_path / "made")}, archive)
    with pytest.raises(UserError, match=r"asks Python for posix\.mkdir.*Nothing was executed") as told:
        read(path)
    assert "source you trust" in str(told.value)
    assert "weights_only=False" not in str(told.value)
    assert not (tmp_path / "made").exists()


@BOTH
def test_a_whole_module_is_refused_with_the_way_to_save_its_weights(read: Reader, archive: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", nn.Linear(2, 2), archive)
    with pytest.raises(
        UserError, match=r"holds a whole model object; it asks Python for torch\.nn\.modules\.linear\.Linear\."
    ) as told:
        read(path)
    assert f"torch.load({str(path)!r}, weights_only=False); torch.save(saved.state_dict()" in str(told.value)


@BOTH
def test_other_objects_are_listed(read: Reader, archive: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2), "x": collections.deque([1])}, archive)
    assert foreign_globals(path) == ["collections.deque"]
    with pytest.raises(UserError, match=r"other Python objects than weights; it asks Python for collections\.deque"):
        read(path)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
def test_a_cut_legacy_file_is_refused(kept: float, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {f"w{i}": torch.ones(50) for i in range(20)}, archive=False)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match="cut short or damaged"):
        read_legacy(path)


@pytest.mark.parametrize("read", [read_archive, mapped])
@pytest.mark.parametrize("change", [lambda data: data[:16], lambda data: data + bytes(16), lambda data: b""])
def test_a_record_of_another_size_than_its_tensor_is_refused(
    read: Reader, change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(100), "x": torch.ones(50)})
    with pytest.raises(UserError, match="cut short or damaged"):
        read(repacked(path, lambda name, data: change(data) if name.endswith("data/0") else data))


def test_mapped_tensors_lie_in_the_file_and_are_nobody_elses(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.zeros(4), "pages": torch.zeros(4096), "again": [torch.ones(3), torch.empty(0)]})
    found = mapped(path)
    before = path.read_bytes()
    found["w"].fill_(2.0)  # a page of its own
    assert path.read_bytes() == before
    with path.open("r+b") as file:
        file.seek(before.index(torch.ones(3).numpy().tobytes()))
        file.write(torch.full((3,), 7.0).numpy().tobytes())
    assert found["again"][0].tolist() == [7.0] * 3
    assert found["w"].eq(2.0).all()


def test_where_nothing_can_be_mapped_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmapped(*_: Any) -> None:
        raise RuntimeError("unable to mmap")

    monkeypatch.setattr(torch.UntypedStorage, "from_file", unmapped)
    assert mapped(saved(tmp_path / "a.pt", {"w": torch.ones(2)}))["w"].tolist() == [1.0, 1.0]


def test_a_compressed_record_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.zeros(1_000_000)})
    repacked(path, lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(UserError, match=r"is compressed \([\d,]+ bytes for [\d,]+\), as torch\.save never does"):
        read_archive(path)


def test_a_record_twice_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2)})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/data/0", bytes(8))
    with pytest.raises(UserError, match="'a/data/0' stands there twice"):
        read_archive(path)


def test_records_that_claim_more_than_the_file_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(4)})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"a/data/0") - 46  # in the directory at the file's end
    assert data[entry : entry + 4] == b"PK\x01\x02"
    data[entry + 20 : entry + 28] = (1 << 30).to_bytes(4, "little") * 2
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"claim 1,073,\d+,\d+ bytes, more than the file has"):
        read_archive(path)


def test_a_directory_that_disagrees_with_its_records_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(4)})
    path.write_bytes(path.read_bytes().replace(b"a/data.pkl", b"a/data.pk\xff", 1))
    with pytest.raises(UserError, match="cut short or damaged"):
        read_archive(path)


def test_a_description_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idsnn_convert.passes.load.records.LARGEST_PICKLE", 100)
    with pytest.raises(UserError, match="at most 100 are read"):
        read_archive(saved(tmp_path / "a.pt", {"w": torch.ones(2)}))


def test_another_pickle_protocol_is_named(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt", pickle_protocol=4)
    with pytest.raises(UserError, match="was pickled with protocol 4"):
        read_archive(tmp_path / "a.pt")


def test_a_tensor_saved_on_a_gpu_is_read_without_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2)})
    changed = repacked(path, lambda name, data: data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"))
    with zipfile.ZipFile(changed) as archive:
        assert b"cuda:0" in archive.read("a/data.pkl")
    weights: dict[str, Tensor] = read_archive(changed)
    assert weights["w"].device.type == "cpu"


def test_no_globals_are_listed_of_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"nothing")
    assert foreign_globals(tmp_path / "a") == []


@BOTH
def test_tensors_of_which_nothing_was_stored_are_refused(read: Reader, archive: bool, tmp_path: Path) -> None:
    class Unstored:
        def __reduce__(self) -> Any:
            return torch.FloatTensor, (1 << 28,)

    path = saved(tmp_path / "a.pt", {"w": torch.ones(2), "x": [Unstored()]}, archive)
    with pytest.raises(UserError, match=r"its tensors take 1,073,741,8\d\d bytes, more than the file has"):
        read(path)


@BOTH
def test_a_pickle_that_costs_more_than_its_bytes_is_refused(read: Reader, archive: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2), "x": bytearray(b"abc")}, archive)
    with pytest.raises(UserError, match=r"asks Python for a buffer of any size\. Nothing was executed"):
        read(path)


def test_the_reason_is_told_without_torchs_advice(tmp_path: Path) -> None:
    path = repacked(
        saved(tmp_path / "a.pt", {"w": torch.ones(2)}), lambda name, data: data.replace(b"s.", b"0.") if "pkl" in name else data
    )
    with pytest.raises(UserError) as told:
        read_archive(path)
    assert told.value.problem == f"{path} is cut short or damaged: Unsupported operand 48"
