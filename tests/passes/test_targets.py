from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.passes.resnet.archs import ARCHS
from idsnn_convert.passes.targets import (
    NETWORKS,
    build_target,
    choose_downsample,
    plain_target,
    target_for,
    target_label,
    target_spec,
)
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
    ("vgg16_bn", 224, 1000, 138_365_992),
    ("densenet121", 224, 1000, 7_978_856),
]


@pytest.mark.parametrize(("name", "size", "classes", "count"), PUBLISHED)
def test_parameter_counts_are_the_published_ones(name: str, size: int, classes: int, count: int) -> None:
    target = build_target(name, input_shape=(3, size, size), classes=classes)
    statistics = ("running_mean", "running_var")
    assert sum(tensor.numel() for key, tensor in target.tensors.items() if not key.endswith(statistics)) == count


@pytest.mark.parametrize("name", NETWORKS)
def test_every_target_is_a_sound_graph_without_values(name: str) -> None:
    target = build_target(name, input_shape=(1, 32, 32), classes=7, width=0.5)
    check(target.graph)
    assert target.graph.output_shape == (7,)
    assert {tensor.device.type for tensor in target.tensors.values()} == {"meta"}


@pytest.mark.parametrize("name", ARCHS)
def test_shortcuts_project_or_pad_as_asked(name: str) -> None:
    projected, padded = (
        build_target(name, input_shape=(3, 32, 32), classes=10, downsample=kind).graph for kind in ("projection", "pad")
    )
    assert len(projected.of("add")) == len(padded.of("add")) == sum(ARCHS[name].depths)
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


@pytest.mark.parametrize(
    ("block", "expected"), [("sew-add", "pad"), ("ms", "pad"), ("sew-and", "projection"), ("sew-iand", "projection")]
)
def test_blocks_that_multiply_by_their_shortcut_never_pad(block: str, expected: str) -> None:
    assert choose_downsample("resnet20", made.network(made.spec(shortcut="pad")).graph, block) == expected


@pytest.mark.parametrize(("block", "sites"), [("spiking", 17), ("sew-add", 20), ("sew-and", 20), ("sew-iand", 20), ("ms", 17)])
def test_kinds_of_block_differ_in_their_neurons_alone(block: str, sites: int) -> None:
    """Eight blocks of two sites and one in stem or head; SEW: one on each of three projections too."""
    target = build_target("resnet18", input_shape=(3, 32, 32), classes=10, block=block)
    assert len(target.graph.of("activation")) == sites
    plain = build_target("resnet18", input_shape=(3, 32, 32), classes=10)
    assert {k: v.shape for k, v in target.tensors.items()} == {k: v.shape for k, v in plain.tensors.items()}


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
        ({"block": "sew"}, "unknown block 'sew'\nKnown: spiking, sew-add"),
        ({"width": 0.0}, "width must be above 0"),
        ({"width": float("nan")}, "width must be above 0"),
        ({"input_shape": (3, 32, 48)}, "square images"),
        ({"input_shape": (32, 32)}, "square images"),
        ({"classes": 0}, "classes must be"),
        ({"name": "vgg9", "stem": "cifar"}, "target vgg9 has one form alone, so its stem cannot be chosen"),
        ({"name": "vgg9", "block": "ms"}, "so its block cannot be chosen"),
        ({"name": "densenet121", "downsample": "pad"}, "so its downsample cannot be chosen"),
        ({"name": "vgg9", "width": -1.0}, "width must be above 0"),
        ({"name": "vgg16", "input_shape": (3, 8, 8)}, "8x8 are too small for its pools"),
        ({"name": "densenet121", "input_shape": (3, 4, 4)}, "4x4 are too small for its pools"),
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


THEIRS = made.teacher(made.spec(shortcut="pad"))


def test_a_named_target_says_how_it_was_built() -> None:
    target = target_for(THEIRS, "resnet20", width=0.5, block="ms")
    assert (target.name, target.same) == ("resnet20", False)
    assert target.settings == {"stem": "auto", "downsample": "pad", "width": 0.5, "block": "ms"}
    assert target.graph.input_shape == THEIRS.input_shape
    assert target.graph.output_shape == (THEIRS.classes,)
    assert target_for(THEIRS, "resnet20", downsample="projection").settings["downsample"] == "projection"


def test_the_teachers_own_graph_is_a_target() -> None:
    target = target_for(THEIRS, "same")
    assert target.graph is THEIRS.graph
    assert (target.name, target.same, target.settings) == (THEIRS.arch, True, {"target": "same"})


def test_a_file_is_a_target(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("depths = [1, 1]\nwidths = [4, 6]\n")
    target = target_for(THEIRS, str(file))
    assert (target.name, target.same, target.settings) == ("mine", False, {"target": "mine.toml"})
    assert [conv.attr("out_channels") for conv in target.graph.of("conv2d")] == [4, 4, 4, 6, 6, 6]


@pytest.mark.parametrize("choice", [{"stem": "cifar"}, {"downsample": "pad"}, {"width": 2.0}, {"block": "ms"}])
def test_choices_are_for_targets_with_a_name_of_their_own(tmp_path: Path, choice: dict[str, Any]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("depths = [1]\nwidths = [4]\n")
    (name,) = choice
    for target, why in (("same", "takes all from the teacher"), (str(file), "is described by its file")):
        with pytest.raises(UserError, match=rf"{why}, so its {name} cannot be chosen"):
            target_for(THEIRS, target, **choice)


def test_labels() -> None:
    assert [target_label(name) for name in ("same", "resnet18")] == ["same", "resnet18"]
    with pytest.raises(UserError, match="Did you mean resnet18"):
        target_label("resnet-18")


@pytest.mark.parametrize("name", ["missing.toml", "nets/missing", "nets\\missing"])
def test_a_missing_file_is_told_with_the_names_there_are(name: str) -> None:
    with pytest.raises(UserError, match=r"missing.*: no such file\nOr a name: same, resnet8"):
        target_label(name)


def test_a_files_label_is_its_bare_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    assert target_label(str(tmp_path / "mine.toml")) == "mine"


def test_a_chain_of_layers_is_a_target_and_a_densely_connected_network_a_teacher_alone() -> None:
    found = target_for(THEIRS, "vgg5", width=0.125)
    assert (found.name, found.graph.input_shape, dict(found.settings)) == ("vgg5", (3, 8, 8), {"width": 0.125})
    dense = plain_target("densenet121", input_shape=(3, 32, 32), classes=10, stem="imagenet", width=0.25)
    assert dense.graph.of("max_pool2d")
    assert dense.settings == {"stem": "imagenet", "width": 0.25}
    with pytest.raises(UserError, match=r"densenet121 is no target[\s\S]*idsnn teach"):
        target_for(THEIRS, "densenet121")
