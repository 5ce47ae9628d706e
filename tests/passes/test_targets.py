from __future__ import annotations

import pytest

from idsnn_convert.passes.targets import TARGETS, build_target, choose_downsample, target_spec
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.ops import check
from tests.passes import made

# (name, image size, classes, parameters): the counts of torchvision, and of the CIFAR family with projections.
PUBLISHED = [
    ("resnet18", 224, 1000, 11_689_512),
    ("resnet34", 224, 1000, 21_797_672),
    ("resnet50", 224, 1000, 25_557_032),
    ("resnet101", 224, 1000, 44_549_160),
    ("resnet152", 224, 1000, 60_192_808),
    ("wide_resnet50_2", 224, 1000, 68_883_240),
    ("wide_resnet101_2", 224, 1000, 126_886_696),
    ("resnext50_32x4d", 224, 1000, 25_028_904),
    ("resnext101_32x8d", 224, 1000, 88_791_336),
    ("resnet18", 32, 10, 11_173_962),
    ("resnet20", 32, 10, 272_474),
]


@pytest.mark.parametrize(("name", "size", "classes", "count"), PUBLISHED)
def test_parameter_counts_are_the_published_ones(name: str, size: int, classes: int, count: int) -> None:
    target = build_target(name, input_shape=(3, size, size), classes=classes)
    statistics = ("running_mean", "running_var")
    assert sum(tensor.numel() for key, tensor in target.tensors.items() if not key.endswith(statistics)) == count


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_a_sound_graph_without_values(name: str) -> None:
    target = build_target(name, input_shape=(1, 28, 28), classes=7, width=0.5)
    check(target.graph)
    assert target.graph.output_shape == (7,)
    assert {tensor.device.type for tensor in target.tensors.values()} == {"meta"}


@pytest.mark.parametrize("name", TARGETS)
def test_shortcuts_project_or_pad_as_asked(name: str) -> None:
    projected, padded = (
        build_target(name, input_shape=(3, 32, 32), classes=10, downsample=kind).graph for kind in ("projection", "pad")
    )
    assert len(projected.of("add")) == len(padded.of("add")) == sum(TARGETS[name].depths)
    assert not projected.of("pad", "slice")
    fewer = len(projected.of("conv2d")) - len(padded.of("conv2d"))
    assert fewer == len(padded.of("pad")) > 0


@pytest.mark.parametrize(
    ("name", "theirs", "expected"),
    [
        ("resnet20", "pad", "pad"),
        ("resnet20", "projection", "projection"),
        ("resnet20", "conv", "projection"),
        ("resnet18", "pad", "projection"),
        ("resnet19", "pad", "projection"),
    ],
)
def test_the_small_family_pads_where_the_teachers_shortcuts_have_no_weights(name: str, theirs: str, expected: str) -> None:
    assert choose_downsample(name, made.network(made.spec(shortcut=theirs)).graph) == expected


@pytest.mark.parametrize(("size", "expected"), [(28, 3), (64, 3), (65, 7), (224, 7)])
def test_the_stem_follows_the_image_size(size: int, expected: int) -> None:
    stem = target_spec("resnet18", input_shape=(3, size, size), classes=10).stem
    assert (stem.kernel, stem.pool) == (expected, expected == 7)


def test_the_stem_can_be_chosen_and_small_families_keep_theirs() -> None:
    assert target_spec("resnet18", input_shape=(3, 32, 32), classes=10, stem="imagenet").stem.kernel == 7
    assert target_spec("resnet20", input_shape=(3, 224, 224), classes=10).stem.kernel == 3


def test_resnet19_has_a_hidden_layer_of_its_own_activation() -> None:
    graph = build_target("resnet19", input_shape=(3, 32, 32), classes=10).graph
    assert [node.attr("out_features") for node in graph.of("linear")] == [256, 10]
    assert [node.name for node in graph.of("activation")][-1] == "relu_hidden"
    assert [conv.shape for conv in graph.of("conv2d")][-1] == (512, 8, 8)


def test_width_scales_channels_in_whole_groups() -> None:
    spec = target_spec("resnext50_32x4d", input_shape=(3, 32, 32), classes=10, width=0.3)
    assert spec.widths == (32, 64, 160, 320)
    assert spec.outputs == (77, 154, 307, 614)
    assert spec.stem.width == 19
    assert spec.name == "resnext50_32x4d x0.3"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "ResNet-18"}, "Did you mean resnet18"),
        ({"name": "vgg"}, "Known: resnet8, resnet14"),
        ({"stem": "deep"}, "unknown stem 'deep'"),
        ({"downsample": "pool"}, "unknown downsample 'pool'"),
        ({"width": 0.0}, "width must be above 0"),
        ({"width": float("nan")}, "width must be above 0"),
        ({"input_shape": (3, 32, 48)}, "square images"),
        ({"input_shape": (32, 32)}, "square images"),
        ({"classes": 0}, "classes must be"),
    ],
)
def test_a_wrong_request_is_refused(settings: dict[str, object], message: str) -> None:
    wanted = {"name": "resnet18", "input_shape": (3, 32, 32), "classes": 10, **settings}
    with pytest.raises(UserError, match=message):
        build_target(**wanted)  # type: ignore[arg-type]


def test_a_name_far_from_all_gets_the_list_alone() -> None:
    with pytest.raises(UserError) as told:
        target_spec("vgg", input_shape=(3, 32, 32), classes=10)
    assert "Did you mean" not in str(told.value)
