from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from idsnn_convert.runtime.data import DATASETS, open_dataset
from idsnn_convert.runtime.data.files import Arrays, Kind, Layout, opened
from idsnn_convert.runtime.errors import UserError


def read_text(path: Path) -> Arrays:
    """A file of digits: each is a label, its image one pixel of ten times that."""
    labels = np.array([int(digit) for digit in path.read_text()], dtype=np.uint8)
    return (10 * labels)[:, None, None, None], labels


KIND = Kind(
    3,
    ("a", "b", "c"),
    (
        Layout("digits-txt", ("1.txt", "2.txt"), ("t.txt",), read_text),
        Layout("digits-raw", ("1.raw", "2.raw"), ("t.raw",), read_text),
    ),
)


@pytest.mark.parametrize("folder", ["digits-txt", "renamed"])
def test_the_folder_or_its_parent_will_do_and_parts_are_joined_in_order(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    for name, text in {"1.txt": "012", "2.txt": "20", "t.txt": "1"}.items():
        (tmp_path / folder / name).write_text(text)
    dataset = opened("digits", KIND, tmp_path if folder == "digits-txt" else tmp_path / folder)
    assert dataset.train.labels.tolist() == [0, 1, 2, 2, 0]
    assert dataset.train.images.flatten().tolist() == [0, 10, 20, 20, 0]
    assert dataset.test.classes == dataset.classes == 3


def test_the_test_images_do_not_need_the_training_images(tmp_path: Path) -> None:
    (tmp_path / "t.raw").write_text("21")
    dataset = opened("digits", KIND, tmp_path)
    assert dataset.test.labels.tolist() == [2, 1]
    with pytest.raises(UserError, match="train images of digits are not all in"):
        _ = dataset.train


def test_an_incomplete_layout_is_passed_over_for_a_complete_one(tmp_path: Path) -> None:
    for name in ("1.txt", "1.raw", "2.raw"):
        (tmp_path / name).write_text("0")
    assert len(opened("digits", KIND, tmp_path).train) == 2


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "2.txt").write_text("0")
    with pytest.raises(UserError, match=r"Missing: \S*1\.txt\.$"):
        _ = opened("digits", KIND, tmp_path).train


def test_a_folder_without_the_files_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no digits files in .*\n.*digits-txt/\{1.txt, 2.txt, t.txt\} or digits-raw/"):
        opened("digits", KIND, tmp_path)


def test_a_missing_folder_and_a_file_in_its_place_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        opened("digits", KIND, tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        opened("digits", KIND, tmp_path / "file")


def test_a_label_out_of_range_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("0173")
    with pytest.raises(UserError, match=r"t\.txt: image 2 has label 7, outside 0 to 2"):
        _ = opened("digits", KIND, tmp_path).test


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("")
    with pytest.raises(UserError, match=r"t\.txt holds no image"):
        _ = opened("digits", KIND, tmp_path).test


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "test.bin").write_bytes(b"")
    assert open_dataset("cifar100:~").root == tmp_path


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("cifar-10:x", r"unknown data set 'cifar-10'\nDid you mean 'cifar10'\? Known: cifar10, cifar100, fashion-mnist"),
        ("zebra:x", r"unknown data set 'zebra'\nKnown: cifar10"),
        ("cifar10", "names no folder\nWrite NAME:FOLDER"),
        ("cifar10:", "names no folder"),
        ("", "unknown data set ''"),
    ],
)
def test_a_spec_that_names_nothing_is_refused(spec: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        open_dataset(spec)


@pytest.mark.parametrize("name", DATASETS)
def test_every_class_of_every_data_set_has_its_name(name: str) -> None:
    kind = DATASETS[name]
    assert len(set(kind.class_names)) == kind.classes
