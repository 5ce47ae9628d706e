from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from idsnn_convert.runtime.data import Reading, open_dataset
from idsnn_convert.runtime.errors import UserError
from tests.runtime.data.images import folder, pixels, put


def test_classes_are_numbered_by_name_and_images_sorted(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".cache").mkdir()
    dataset = open_dataset(f"folder:{tmp_path}")
    assert (dataset.name, dataset.classes, dataset.class_names) == ("folder", 2, ("cat", "dog"))
    assert dataset.train.labels.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(dataset.train.images[7], pixels(7).transpose(2, 0, 1))
    assert dataset.test.labels.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("name", ["test", "valid", "validation"])
def test_what_the_test_folder_may_be_called(tmp_path: Path, name: str) -> None:
    folder(tmp_path)
    (tmp_path / "val").rename(tmp_path / name)
    assert len(open_dataset(f"folder:{tmp_path}").test) == 8


def test_one_split_does_without_the_other(tmp_path: Path) -> None:
    folder(tmp_path)
    shutil.rmtree(tmp_path / "train")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert dataset.classes == 2
    assert len(dataset.test) == 8
    with pytest.raises(UserError, match="no train folder in"):
        _ = dataset.train


def test_a_class_may_lack_test_images_but_not_training_images(tmp_path: Path) -> None:
    folder(tmp_path)
    shutil.rmtree(tmp_path / "val" / "cat")
    assert open_dataset(f"folder:{tmp_path}").test.labels.tolist() == [1] * 4
    put(tmp_path / "val" / "owl" / "1.png", pixels(1))
    with pytest.raises(UserError, match=r"owl is of a class that the training images do not have\nThere are cat, dog"):
        _ = open_dataset(f"folder:{tmp_path}").test


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "train" / "owl").mkdir()
    with pytest.raises(UserError, match=r"class folder .*owl holds no image\nImages end in \.jpg"):
        _ = open_dataset(f"folder:{tmp_path}").train


def test_a_wrong_folder_is_told_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist\nName the folder DIR of DIR/train/CLASS"):
        open_dataset(f"folder:{tmp_path / 'absent'}")
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match=r"no train or val folder in .*, but cat\n"):
        open_dataset(f"folder:{tmp_path}")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"no class folder in .*train"):
        open_dataset(f"folder:{tmp_path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        open_dataset(f"folder:{tmp_path / 'file'}")


def test_a_damaged_image_is_named_by_its_path(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "train" / "dog" / "3.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UserError, match=r"cannot read the image .*train/dog/3\.png"):
        _ = open_dataset(f"folder:{tmp_path}", Reading(image_size=8)).train


def tiny_imagenet(root: Path, lines: str) -> Path:
    for name in ("n02", "n01"):
        put(root / "train" / name / "images" / f"{name}_0.png", pixels(1))
        (root / "train" / name / f"{name}_boxes.txt").write_text("n02_0.png\t0\t0\t62\t62\n")
    for k in (0, 1):
        put(root / "val" / "images" / f"val_{k}.png", pixels(10 + k))
    (root / "test" / "images").mkdir(parents=True)
    (root / "val" / "val_annotations.txt").write_text(lines)
    return root


@pytest.mark.parametrize("inner", ["", "tiny-imagenet-200"])
def test_tiny_imagenets_own_layout(tmp_path: Path, inner: str) -> None:
    tiny_imagenet(tmp_path / inner, "val_0.png\tn02\t0\t32\t44\t62\nval_1.png\tn01\t1\t1\t2\t2\n")
    dataset = open_dataset(f"tiny-imagenet:{tmp_path}")
    assert (dataset.name, dataset.class_names) == ("tiny-imagenet", ("n01", "n02"))
    assert dataset.train.labels.tolist() == [0, 1]
    assert dataset.test.labels.tolist() == [1, 0]
    assert np.array_equal(dataset.test.images[0], pixels(10).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("val_0.png\tn02\nval_1.png", "line 2: there must be a file's name, a tab and its class"),
        ("../../secret.png\tn02\n", "line 1: there must be a file's name"),
        ("val_0.png\tn07\n", "val_0.png is of class 'n07', which the training images do not have"),
        ("", "lists no image"),
        ("val_9.png\tn02\n", r"cannot read the image .*val_9\.png: No such file"),
    ],
)
def test_annotations_that_are_wrong_are_told(tmp_path: Path, lines: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        _ = open_dataset(f"tiny-imagenet:{tiny_imagenet(tmp_path, lines)}").test
