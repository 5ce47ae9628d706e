from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from idsnn_convert.passes.families.recognise import COUNTER, OUTSIDE, assumptions, recognise
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.runtime.errors import UserError
from tests.passes.families.renamed import NAMINGS, lively

BASIC = ResNetSpec("resnet(1-2 basic)", (1, 2), (4, 8), (4, 8), (1, 2), Stem(4), classes=3)
BOTTLENECK = replace(BASIC, name="resnet(1-2 bottleneck)", block="bottleneck", outputs=(16, 32), groups=2)


def state_of(spec: ResNetSpec) -> dict[str, Tensor]:
    with torch.device("meta"):
        return dict(ResNet(spec).state_dict())


@pytest.mark.parametrize("spec", [BASIC, BOTTLENECK], ids=["basic", "bottleneck"])
@pytest.mark.parametrize("family", NAMINGS)
def test_a_renamed_network_comes_back_the_same(family: str, spec: ResNetSpec) -> None:
    network = lively(spec)
    state = {NAMINGS[family](name): tensor for name, tensor in network.state_dict().items()}
    found = recognise(state)[0]
    assert (found.family, found.spec) == (family, spec)
    rebuilt = ResNet(found.spec).eval()
    rebuilt.load_state_dict({ours: state[theirs] for theirs, ours in found.rename.items()}, strict=False)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(rebuilt(images), network(images))
    assert found.rename.keys() | found.unread.keys() == state.keys()


def test_akamaster_is_told_by_three_stages_that_change_width_without_tensors() -> None:
    spec = ResNetSpec("resnet8", (1, 1, 1), (16, 32, 64), (16, 32, 64), (1, 2, 2), Stem(16), classes=10, shortcut="pad")
    found = recognise({name.replace("fc.", "linear."): tensor for name, tensor in state_of(spec).items()})[0]
    assert (found.family, found.spec) == ("akamaster CIFAR ResNet", spec)
    assert "Shortcuts that change shape skip pixels and pad with zero channels (option A)." in found.assumptions


def test_karanchahal_is_told_by_a_wide_stem_and_pooled_windows() -> None:
    spec = ResNetSpec("resnet14", (2, 2, 2), (16, 32, 64), (16, 32, 64), (1, 2, 2), Stem(64), classes=10, window=4)
    state = {NAMINGS["kuangliu/pytorch-cifar"](name): tensor for name, tensor in state_of(spec).items()}
    first, second, *_ = recognise(state)
    assert first.family == second.family == "karanchahal/distiller"
    assert (first.spec, second.spec) == (replace(spec, after_add="stage"), spec)
    assert "There is a ReLU after the last block's add of each stage only." in first.assumptions
    assert "The head averages over 4x4 windows." in first.assumptions


def test_what_shapes_leave_open_gives_further_candidates() -> None:
    found = recognise(state_of(BOTTLENECK))
    assert [candidate.spec.stride_at for candidate in found if candidate.spec.after_add == "block"] == ["3x3", "1x1"]
    assert len({candidate.spec for candidate in found}) == len(found)


def test_a_preact_network_is_told_by_the_missing_norm_of_the_stem() -> None:
    spec = replace(BASIC, block="preact-basic", name="resnet(1-2 preact-basic)", after_add="none", shortcut="conv")
    found = recognise({NAMINGS["kuangliu/pytorch-cifar"](name): tensor for name, tensor in state_of(spec).items()})
    assert [candidate.spec for candidate in found] == [spec]


def test_every_tensor_is_used_or_listed_with_its_reason() -> None:
    state = state_of(BASIC) | {"aux.0.weight": torch.zeros(2), "mean": torch.zeros(3)}
    found = recognise(state)[0]
    assert found.unread["bn1.num_batches_tracked"] == COUNTER
    assert found.unread["aux.0.weight"] == found.unread["mean"] == OUTSIDE
    assert found.rename.keys() | found.unread.keys() == state.keys()
    assert not found.rename.keys() & found.unread.keys()


def test_assumptions_say_what_the_file_does_not_tell() -> None:
    sentences = assumptions(BOTTLENECK, told_size=False)
    assert sentences[0] == "The images are 32x32."
    assert "The stages begin with strides 1, 2." in sentences
    assert "Blocks stride in their 3x3 convolution." in sentences
    assert "There is a ReLU after every block's add (He et al. 2015)." in sentences
    assert not any("images" in sentence for sentence in assumptions(BOTTLENECK, told_size=True))
    large = replace(BASIC, stem=Stem(4, 7, 2, 3, pool=True))
    assert "The first convolution has stride 2 and padding 3, and a 3x3 max pool of stride 2 follows." in assumptions(
        large, told_size=True
    )


def test_an_extra_inside_the_network_is_refused_by_name() -> None:
    state = state_of(BASIC) | {"layer1.0.se.fc1.weight": torch.zeros(2, 4, 1, 1)}
    with pytest.raises(
        UserError, match=r"torchvision/timm's, but a plain ResNet has no tensor 'layer1.0.se.fc1.weight' \(1 such"
    ):
        recognise(state)


def test_a_missing_tensor_is_named_under_the_scheme_that_reads_most() -> None:
    state = {NAMINGS["pycls"](name): tensor for name, tensor in state_of(BASIC).items()}
    del state["s2.b2.f.b_bn.weight"]
    with pytest.raises(UserError, match=r"needs a tensor of shape \(8,\) for 'layer2.1.bn2.weight'"):
        recognise(state)


def test_a_wrong_shape_is_named_as_in_the_file() -> None:
    state = state_of(BASIC)
    state["layer2.0.downsample.0.weight"] = torch.zeros(8, 5, 1, 1)
    with pytest.raises(UserError, match=r"'layer2.0.downsample.0.weight' must have shape \(8, 4, 1, 1\), not \(8, 5, 1, 1\)"):
        recognise(state)


def test_two_classifiers_are_refused() -> None:
    state = state_of(BASIC) | {"linear.weight": torch.zeros(3, 8)}
    with pytest.raises(UserError, match=r"'fc.weight' and 'linear.weight' claim the same place"):
        recognise(state)


def test_a_backbone_without_classifier_says_so() -> None:
    state = {name: tensor for name, tensor in state_of(BASIC).items() if not name.startswith("fc")}
    with pytest.raises(UserError, match="the file holds a backbone"):
        recognise(state)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("features.0.weight", "looks like a VGG or AlexNet"),
        ("features.denseblock1.denselayer1.conv1.weight", "looks like a DenseNet"),
        ("blocks.0.attn.qkv.weight", "looks like a transformer"),
        ("encoder.0.weight", "form no known ResNet. The first are encoder.0.weight"),
    ],
)
def test_a_stranger_is_described_by_its_first_tensors(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        recognise({name: torch.zeros(2, 3)})
    assert f"{name} (2, 3)" in str(told.value)
    assert "pycls" in str(told.value)


def test_no_tensors_at_all() -> None:
    with pytest.raises(UserError, match="0 tensors"):
        recognise({})
