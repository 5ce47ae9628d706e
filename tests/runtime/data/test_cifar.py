from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.cifar import CIFAR10, CIFAR100, PIXELS
from idsnn_convert.runtime.errors import UserError

LABELS = [3, 7]
PICTURES = np.random.default_rng(0).integers(0, 256, (2, PIXELS), dtype=np.uint8)


def pickled(**values: object) -> bytes:
    return pickle.dumps({key.encode(): value for key, value in values.items()}, protocol=2)


def test_the_binary_layout_of_cifar10(tmp_path: Path) -> None:
    rows = np.concatenate([np.array(LABELS, np.uint8)[:, None], PICTURES], 1)
    for k in range(1, 6):
        rows.tofile(tmp_path / f"data_batch_{k}.bin")
    train = open_dataset(f"cifar10:{tmp_path}").train
    assert train.labels.tolist() == 5 * LABELS
    assert train.images.shape == (10, 3, 32, 32)
    assert torch.equal(train.images[8:], torch.tensor(PICTURES).view(2, 3, 32, 32))


def test_the_binary_layout_of_cifar100_has_the_coarse_label_first(tmp_path: Path) -> None:
    labels = np.array([[19, 3], [0, 99]], np.uint8)
    np.concatenate([labels, PICTURES], 1).tofile(tmp_path / "test.bin")
    test = open_dataset(f"cifar100:{tmp_path}").test
    assert test.labels.tolist() == [3, 99]
    assert torch.equal(test.images.flatten(1), torch.tensor(PICTURES))


@pytest.mark.parametrize(("name", "file", "key"), [("cifar10", "test_batch", "labels"), ("cifar100", "test", "fine_labels")])
def test_the_pickled_layout(tmp_path: Path, name: str, file: str, key: str) -> None:
    (tmp_path / file).write_bytes(pickled(data=PICTURES, **{key: LABELS}))
    test = open_dataset(f"{name}:{tmp_path}").test
    assert test.labels.tolist() == LABELS
    assert torch.equal(test.images.flatten(1), torch.tensor(PICTURES))


def test_a_truncated_binary_batch_tells_both_sizes(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(2 * 3073 - 10))
    with pytest.raises(UserError, match=r"truncated: 6,136 bytes found, 6,146 expected for 2 records of 3,073"):
        _ = open_dataset(f"cifar10:{tmp_path}").test


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"labels": LABELS}, "'data' must be an array of shape .N, 3072., not NoneType"),
        ({"data": PICTURES[:, :100], "labels": LABELS}, r"not shape \(2, 100\)"),
        ({"data": PICTURES}, "'labels' must list 2 integers, not NoneType"),
        ({"data": PICTURES, "labels": [1]}, "'labels' must list 2 integers, not 1 values"),
        ({"data": PICTURES, "labels": ["a", "b"]}, "'labels' must list 2 integers"),
        ({"data": PICTURES, "labels": [1, -1]}, "image 1 has label -1, outside 0 to 9"),
        ({"data": PICTURES, "labels": [1, 2**70]}, f"label {2**70}, outside"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused(tmp_path: Path, values: dict[str, object], told: str) -> None:
    (tmp_path / "test_batch").write_bytes(pickled(**values))
    with pytest.raises(UserError, match=told):
        _ = open_dataset(f"cifar10:{tmp_path}").test


def test_a_pickled_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps([1, 2], protocol=2))
    with pytest.raises(UserError, match="'data' must be an array"):
        _ = open_dataset(f"cifar10:{tmp_path}").test


def test_the_publishers_layouts_are_looked_for() -> None:
    assert [layout.folder for layout in CIFAR10.layouts] == ["cifar-10-batches-bin", "cifar-10-batches-py"]
    assert [layout.folder for layout in CIFAR100.layouts] == ["cifar-100-binary", "cifar-100-python"]


def test_the_real_cifar10_has_its_published_mean(cifar10_dir: Path) -> None:
    dataset = open_dataset(f"cifar10:{cifar10_dir.parent}")
    assert torch.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert [dataset.class_names[label] for label in dataset.test.labels[:4]] == ["cat", "ship", "ship", "airplane"]
    assert len(dataset.train) == 50_000
    mean = dataset.train.images.float().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)


def test_the_real_cifar100_has_a_hundred_test_images_of_each_class(cifar100_dir: Path) -> None:
    assert torch.bincount(open_dataset(f"cifar100:{cifar100_dir}").test.labels).tolist() == [100] * 100
