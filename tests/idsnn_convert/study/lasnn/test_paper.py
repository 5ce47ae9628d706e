from __future__ import annotations

from idsnn_convert.study.lasnn.paper import TABLE_2, reported
from idsnn_convert.study.lasnn.plan import ARMS


def test_each_figure_stands_for_an_arm() -> None:
    assert all(row.keys() <= ARMS.keys() for row in TABLE_2.values())


def test_attention_is_reported_by_teacher_where_the_paper_says() -> None:
    assert reported("resnet12", "cifar10", "lasnn", "vgg16_bn") == 90.90  # table IV
    assert reported("vgg16", "cifar10", "lasnn", "densenet121") == 91.22  # table II alone
    assert reported("vgg5", "cifar10", "hybrid", "alone") == 85.76


def test_what_the_paper_leaves_out() -> None:
    assert reported("vgg5", "cifar100", "lasnn", "vgg16") is None
    assert reported("vgg5", "cifar10", "lasnn-gradient", "vgg16") is None
    assert reported("resnet20", "cifar10", "lasnn", "vgg16") is None
