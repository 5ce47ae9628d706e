from __future__ import annotations

from dataclasses import replace

import pytest
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.match import match
from idsnn_convert.passes.resnet.spec import ResNetSpec
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.weightmap import TensorMap, WeightMap, map_weights
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.ops import tensor_shapes
from tests.passes import replicas
from tests.passes.made import network, spec
from tests.passes.replicas import Calls, conv_bn

BASIC = spec()
BOTTLENECK = spec(widths=(2, 4), outputs=(8, 16), block="bottleneck")


def mapped(target: ResNetSpec, source: ResNetSpec, rule: str = "relative", **choices: str) -> WeightMap:
    ours, theirs = network(target).graph, network(source).graph
    return map_weights(match(segment(ours), segment(theirs), rule), ours, theirs, **choices)


def sources(found: WeightMap) -> dict[str, str | None]:
    return {entry.target: entry.source for entry in found.tensors}


def entry(found: WeightMap, name: str) -> TensorMap:
    return next(entry for entry in found.tensors if entry.target == name)


def test_the_same_network_maps_onto_itself_but_for_the_head() -> None:
    found = mapped(BASIC, BASIC)
    graph = network(BASIC).graph
    assert [entry.target for entry in found.tensors] == list(tensor_shapes(graph))
    for name, source in sources(found).items():
        assert source == (None if name.startswith("fc.") else name)
    assert found.unused == {"fc.weight": "the head stays fresh", "fc.bias": "the head stays fresh"}
    assert {entry.rule for entry in found.tensors} == {"copy", "fresh"}


def test_a_copied_head() -> None:
    found = mapped(BASIC, BASIC, head="copy")
    assert all(name == source for name, source in sources(found).items())
    assert not found.unused


def test_a_head_that_cannot_be_copied_is_refused_with_both_sizes() -> None:
    with pytest.raises(UserError, match=r"8 -> 5 .*16 -> 5"):
        mapped(BASIC, spec(widths=(8, 16)), head="copy")


def test_wider_and_narrower_tensors_are_looped() -> None:
    for target, source in ((spec(widths=(6, 12)), BASIC), (BASIC, spec(widths=(6, 12)))):
        found = mapped(target, source)
        rules = {entry.rule for entry in found.tensors if entry.place != "head"}
        assert rules == {"loop"}
        first = entry(found, "layer2.0.conv1.weight")
        assert first.source == "layer2.0.conv1.weight"
        assert (first.target_shape[:2], (first.source_shape or ())[:2]) in {((12, 6), (8, 4)), ((8, 4), (12, 6))}


def test_each_tensor_stays_in_its_block_pair() -> None:
    found = sources(mapped(spec(depths=(2, 2)), spec(depths=(5, 5))))
    assert found["layer1.0.conv2.weight"] == "layer1.0.conv2.weight"
    assert found["layer1.1.bn1.running_var"] == "layer1.3.bn1.running_var"
    prefix = sources(mapped(spec(depths=(2, 2)), spec(depths=(5, 5)), "prefix"))
    assert prefix["layer1.1.bn1.running_var"] == "layer1.1.bn1.running_var"


def test_blocks_that_nothing_takes_are_listed_with_the_rule() -> None:
    found = mapped(spec(depths=(2, 2)), spec(depths=(5, 5)))
    assert found.unused["layer1.1.conv1.weight"] == "no target block takes stage1.block1 under the relative rule"


def test_shortcuts_follow_the_choice_and_the_teacher() -> None:
    assert sources(mapped(BASIC, BASIC))["layer2.0.downsample.0.weight"] == "layer2.0.downsample.0.weight"
    fresh = entry(mapped(BASIC, BASIC, shortcuts="fresh"), "layer2.0.downsample.1.weight")
    assert (fresh.source, fresh.reason) == (None, "shortcuts were asked to stay fresh")
    padded = entry(mapped(BASIC, spec(shortcut="pad")), "layer2.0.downsample.0.weight")
    assert (padded.source, padded.reason) == (None, "the shortcut of the teacher's stage2.block0 has no weights")
    lost = mapped(spec(shortcut="pad"), BASIC).unused
    assert lost["layer2.0.downsample.0.weight"] == "the target has no layer for it"


def test_convolutions_are_aligned_by_kernel() -> None:
    down = sources(mapped(BASIC, BOTTLENECK))
    assert down["layer1.1.conv1.weight"] == down["layer1.1.conv2.weight"] == "layer1.1.conv2.weight"
    assert down["layer1.1.bn2.weight"] == "layer1.1.bn2.weight"
    up = mapped(BOTTLENECK, BASIC)
    assert sources(up)["layer1.1.conv2.weight"] == "layer1.1.conv2.weight"
    assert entry(up, "layer1.1.conv1.weight").reason == "the teacher has no 1x1 convolution at this place"
    assert entry(up, "layer1.1.bn1.weight").reason == "its convolution has no source"


def test_a_stem_of_another_kernel_stays_fresh() -> None:
    wide = replace(BASIC, stem=replace(BASIC.stem, kernel=7, padding=3))
    found = entry(mapped(BASIC, wide), "conv1.weight")
    assert (found.place, found.reason) == ("stem", "the teacher has no 3x3 convolution at this place")


def test_what_computes_a_gate_is_no_source() -> None:
    """Squeeze and excitation has 1x1 convolutions of its own; the block's are those that give its maps."""

    class Excited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv_bn(8, 4, 1)
            self.conv2, self.bn2 = conv_bn(4, 4)
            self.conv3, self.bn3 = conv_bn(4, 8, 1)
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid())

        def forward(self, x: Tensor) -> Tensor:
            out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
            out = self.bn3(self.conv3(out))
            return F.relu(out * self.gate(out) + x)

    theirs = trace_known(replicas.network(Excited(), Excited()), (3, 8, 8)).graph
    ours = network(spec((1,), (4,), outputs=(8,), block="bottleneck")).graph
    found = map_weights(match(segment(ours), segment(theirs)), ours, theirs)
    names = [(entry.target, entry.source) for entry in found.tensors if entry.target.startswith("layer1.0.conv")]
    assert [target.split(".")[2] for target, _ in names] == [str(source).split(".")[1] for _, source in names]
    assert len(names) == 3
    block = str(names[0][1]).split(".")[0]
    gates = [reason for name, reason in found.unused.items() if name.startswith(f"{block}.gate.")]
    assert gates == ["the target has no layer for it"] * 4


def test_a_folded_batch_norm_is_not_mapped_and_the_reason_says_why() -> None:
    layers = [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)]
    parts = {"stem": nn.Conv2d(3, 4, 3, padding=1), "branch": nn.Sequential(*layers), "fc": nn.Linear(4, 5)}
    net = Calls(lambda self, x: self.fc(F.relu(self.branch(x := F.relu(self.stem(x))) + x).mean((2, 3))), **parts)
    theirs = trace_known(net, (3, 8, 8)).graph
    ours = network(spec((1,), (4,))).graph
    found = map_weights(match(segment(ours), segment(theirs)), ours, theirs)
    assert entry(found, "layer1.0.conv2.weight").source == "branch.2.weight"
    assert entry(found, "layer1.0.bn2.bias").reason == (
        "no batch norm follows the teacher's branch.2; if it was folded into the bias, that cannot be undone without data"
    )
    assert found.unused["branch.2.bias"] == "the target's layer has no bias"


def test_a_group_norm_gives_its_scale_and_shift_but_has_no_statistics() -> None:
    ours = network(spec((1,), (12,), block="preact-basic", after_add="none", projected_entry=True)).graph
    theirs = trace_known(replicas.network(replicas.GroupNormed(8, 12)), (3, 8, 8)).graph
    found = map_weights(match(segment(ours), segment(theirs)), ours, theirs)
    norm = {slot: entry(found, f"layer1.0.bn2.{slot}") for slot in ("weight", "bias", "running_mean", "running_var")}
    assert [norm[slot].source for slot in norm] == ["1.norm2.weight", "1.norm2.bias", None, None]
    assert norm["running_var"].reason == "the teacher's 1.norm2 has no running_var"
    assert entry(found, "layer1.0.bn1.weight").source == "1.norm1.weight"


def test_status_and_repeats_by_hand() -> None:
    found = mapped(spec(widths=(10, 3)), BASIC)
    wide, narrow = entry(found, "layer1.0.conv1.weight"), entry(found, "layer2.0.conv1.weight")
    assert (wide.status, wide.repeats) == ("looped", (3, 3))  # 10 channels from 4
    assert (narrow.status, narrow.repeats) == ("looped", (1, 3))  # 3 from 8, each of 10 from 4
    assert entry(found, "layer1.0.bn1.bias").repeats == (3, 1)
    assert entry(mapped(BASIC, BASIC), "conv1.weight").status == "exact"
    fresh = entry(found, "fc.weight")
    assert (fresh.status, fresh.repeats) == ("fresh", None)


def test_norms_ahead_of_their_convolutions_are_matched_as_such() -> None:
    preact = spec(block="preact-basic", after_add="none", final_norm=True)
    found = sources(mapped(preact, preact))
    assert found["layer1.1.bn1.weight"] == "layer1.1.bn1.weight"
    assert found["layer1.1.bn2.weight"] == "layer1.1.bn2.weight"


@pytest.mark.parametrize("residual", ["sew-add", "sew-and", "sew-iand", "ms"])
@pytest.mark.parametrize("source", [BASIC, BOTTLENECK], ids=["basic", "bottleneck"])
def test_blocks_that_fire_elsewhere_take_the_plain_blocks_tensors(residual: str, source: ResNetSpec) -> None:
    """Convolutions by place, and each batch norm with the convolution before it."""
    target = replace(source, residual=residual, after_add="none")
    found = mapped(target, source, head="copy")
    assert all(name == theirs for name, theirs in sources(found).items())
    assert not found.unused


def test_every_source_tensor_is_used_or_listed() -> None:
    for target, source in ((BASIC, BOTTLENECK), (BOTTLENECK, BASIC), (spec(depths=(1, 1, 1), widths=(4, 8, 16)), BASIC)):
        found = mapped(target, source)
        used = {entry.source for entry in found.tensors if entry.source}
        theirs = set(tensor_shapes(network(source).graph))
        assert used | set(found.unused) == theirs
        assert not used & set(found.unused)


def test_unknown_choices_are_refused() -> None:
    for choice in ("shortcuts", "head"):
        with pytest.raises(UserError, match=f"unknown choice 'x' for {choice}"):
            mapped(BASIC, BASIC, **{choice: "x"})
