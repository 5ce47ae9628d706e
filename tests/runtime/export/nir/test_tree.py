from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nir")
import h5py

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.nir import tree
from idsnn_convert.runtime.export.nir.read import from_nir
from idsnn_convert.runtime.export.nir.tree import check_tree


def made(path: Path, change: Callable[[Any], object] = lambda file: None) -> Path:
    with h5py.File(path, "w") as file:
        file["node/type"] = "NIRGraph"
        file.create_dataset("node/weight", data=np.zeros((64, 64), np.float32), compression="gzip", shuffle=True)
        file["node/edges"] = [["a", "b"]] * 5
        change(file)
    return path


def test_a_plain_tree_passes(tmp_path: Path) -> None:
    check_tree(made(tmp_path / "a.nir"))


def nested(file: Any) -> None:
    group = file["node"]
    for _ in range(20):
        group = group.create_group("x")


def into_itself(file: Any) -> None:
    file["node/x"] = file["node"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: file.__setitem__("node/x", h5py.ExternalLink("secret", "/x")), "'/node/x' is a link to somewhere else"),
        (lambda file: file.__setitem__("node/x", h5py.SoftLink("/node")), "'/node/x' is a link to somewhere else"),
        (lambda file: file.create_dataset("x", (4,), "f4", external=[("secret", 0, 16)]), "'/x' is kept in other files"),
        (lambda file: file.create_virtual_dataset("x", h5py.VirtualLayout((4,), "f4")), "'/x' is kept in other files"),
        (
            lambda file: file.create_dataset("x", (2**40,), "f4", chunks=(1024,)),
            r"its arrays unpack to more than 268,4\d\d,\d{3} bytes",
        ),
        (lambda file: file.create_dataset("x", (60_000,), h5py.string_dtype()), "'/x' holds 60,000 texts; at most 50,000"),
        (nested, "more than 16 deep"),
        (into_itself, "'/node/x' stands in another place too"),
    ],
    ids=["link outside", "link inside", "array outside", "array of files", "nothing unpacked", "texts", "depth", "ring"],
)
def test_what_nir_has_no_use_for_is_refused(tmp_path: Path, change: Callable[[Any], object], told: str) -> None:
    path = made(tmp_path / "a.nir", change)
    with pytest.raises(UserError, match=f"a.nir: .*{told}"):
        from_nir(path)


def test_texts_that_stand_in_every_place_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "LONGEST_TEXTS", 9)
    with pytest.raises(UserError, match="the texts of '/node/edges' are longer than 9 bytes"):
        check_tree(made(tmp_path / "a.nir"))


def test_too_many_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_PLACES", 3)
    with pytest.raises(UserError, match="more than 3 groups and arrays"):
        check_tree(made(tmp_path / "a.nir"))
