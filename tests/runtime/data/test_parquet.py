from __future__ import annotations

import builtins
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idsnn_convert.runtime.data import Reading, open_dataset
from idsnn_convert.runtime.errors import UserError
from tests.runtime.data.images import encoded, pixels

arrow: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")

NAMES = ["cat", "dog", "owl"]


def described(label: str) -> dict[bytes, bytes]:
    """What the Hub writes into a file of ``label``."""
    features = {"img": {"_type": "Image"}, label: {"names": NAMES, "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def write(path: Path, labels: list[Any], first: int = 0, hub: bool = True, raw: bool = False, **columns: Any) -> Path:
    """Image k is ``pixels(first + k)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [encoded(pixels(first + k)) for k in range(len(labels))]
    pictures = files if raw else [{"bytes": file, "path": f"{k}.png"} for k, file in enumerate(files)]
    table = arrow.table({"img": pictures, "label": labels, **columns})
    table = table.replace_schema_metadata(described("label") if hub else None)
    parquet.write_table(table, path, row_group_size=2)
    return path


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet"),
        ("plain_text/train/0000.parquet", "plain_text/validation/0000.parquet"),
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_how_the_hub_lays_files_out(tmp_path: Path, train: str, test: str, raw: bool) -> None:
    write(tmp_path / train, [2, 0, 1], raw=raw)
    write((tmp_path / train).with_name(Path(train).name.replace("0000", "0001", 1)), [1, 1], first=3, raw=raw)
    write(tmp_path / test, [0], first=10, raw=raw)
    dataset = open_dataset(f"parquet:{tmp_path}")
    assert (dataset.classes, dataset.class_names) == (3, tuple(NAMES))
    assert dataset.train.labels.tolist() == [2, 0, 1, 1, 1]
    for k in range(5):
        assert np.array_equal(dataset.train.images[k], pixels(k).transpose(2, 0, 1))
    assert dataset.test.labels.tolist() == [0]
    streamed = open_dataset(f"parquet:{tmp_path}", Reading(memory=0, workers=2))
    assert streamed.train.images.equal(dataset.train.images)


def test_without_a_description_the_labels_tell_the_classes(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 4], hub=False)
    write(tmp_path / "test.parquet", [1], hub=False)
    dataset = open_dataset(f"parquet:{tmp_path}")
    assert (dataset.classes, dataset.class_names) == (5, ())
    assert dataset.test.classes == 5


def test_the_fine_labels_are_taken_of_two(tmp_path: Path) -> None:
    table = arrow.table({"img": [{"bytes": encoded(pixels(0)), "path": None}], "coarse_label": [1], "fine_label": [2]})
    parquet.write_table(table, tmp_path / "test.parquet")
    assert open_dataset(f"parquet:{tmp_path}").test.labels.tolist() == [2]


def test_a_file_is_the_split_its_name_says(tmp_path: Path) -> None:
    dataset = open_dataset(f"parquet:{write(tmp_path / 'test-00000-of-00001.parquet', [1])}")
    assert len(dataset.test) == 1
    with pytest.raises(UserError, match="holds no file of train images"):
        _ = dataset.train


def test_what_is_no_such_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_dataset(f"parquet:{tmp_path / 'absent'}")
    with pytest.raises(UserError, match=r"holds no \.parquet file"):
        open_dataset(f"parquet:{tmp_path}")
    write(tmp_path / "images.parquet", [1])
    with pytest.raises(UserError, match=r"begins with train, test or validation \(images\.parquet\)"):
        open_dataset(f"parquet:{tmp_path}")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"cannot read .*train\.parquet: .*\nIs it a Parquet file"):
        open_dataset(f"parquet:{tmp_path}")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"text": ["a"]}, r"cannot be told\nThere are text \(string\)"),
        ({"img": [b"x"], "mask": [b"y"], "label": [1]}, "cannot be told"),
        ({"img": [b"x"], "a": [1], "b": [2]}, "cannot be told"),
        ({"img": [b"x"], "label": [None]}, "cannot be told"),
        ({"img": [b"x"], "label": [-1]}, r"row 0 has label -1, outside 0 to"),
        ({"img": [{"bytes": None, "path": "a.png"}], "label": [0]}, "row 0 holds no image, but at most the path"),
        ({"img": [b"x"], "label": [0]}, r"cannot read the image .*test\.parquet, row 0: it is none of JPEG"),
    ],
)
def test_columns_that_tell_nothing_are_refused(tmp_path: Path, columns: dict[str, list[Any]], told: str) -> None:
    parquet.write_table(arrow.table(columns), tmp_path / "test.parquet")
    with pytest.raises(UserError, match=told):
        _ = open_dataset(f"parquet:{tmp_path}").test


def test_an_image_without_a_label_is_named(tmp_path: Path) -> None:
    write(tmp_path / "test.parquet", [1, None], hub=False)
    with pytest.raises(UserError, match=r"test\.parquet: image 1 has no label"):
        open_dataset(f"parquet:{tmp_path}")


def test_without_pyarrow_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "test.parquet", [1])
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'through pyarrow\npip install "idsnn-convert\[data\]"'):
        open_dataset(f"parquet:{tmp_path}")


def test_one_image_that_stands_in_every_row_is_not_unpacked(tmp_path: Path) -> None:
    image = np.random.default_rng(0).bytes(200_000)
    table = arrow.table({"img": [image] * 1000, "label": [0] * 1000})
    parquet.write_table(table, tmp_path / "train.parquet", use_dictionary=True)
    assert (tmp_path / "train.parquet").stat().st_size < 10 * len(image)
    with pytest.raises(UserError, match=r"train.parquet unpacks to more than [\d,]+ bytes, and has [\d,]+"):
        _ = open_dataset(f"parquet:{tmp_path}").train


def test_rows_that_no_bytes_stand_for_are_not_listed(tmp_path: Path) -> None:
    none = arrow.nulls(300_000, arrow.binary())
    table = arrow.table({"img": none, "label": arrow.array(np.zeros(300_000, np.int64))})
    parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"declares 300,000 rows of [\d,]+ bytes, and has \d"):
        open_dataset(f"parquet:{tmp_path}")


def test_damage_anywhere_in_the_footer_is_told(tmp_path: Path) -> None:
    whole = write(tmp_path / "train.parquet", [0, 1]).read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little")
    for at in range(len(whole) - 8 - footer, len(whole) - 8, 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        (tmp_path / "train.parquet").write_bytes(damaged)
        with contextlib.suppress(UserError):
            _ = open_dataset(f"parquet:{tmp_path}").train
