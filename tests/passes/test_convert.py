from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from idsnn_convert import runtime
from idsnn_convert.passes.convert import Settings, convert
from idsnn_convert.passes.interpolate import equals_rule
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.targets import build_target
from idsnn_convert.passes.types import Target, Teacher
from idsnn_convert.passes.weightmap import NOTHING_CORRESPONDS
from idsnn_convert.runtime.checkpoint import read, save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.neurons import Neuron
from tests.graphs import random_tensors
from tests.passes import replicas
from tests.passes.made import network, spec, teacher
from tests.passes.replicas import Res2, SqueezeExcite, conv_bn

PROVENANCE = {"converter": "test"}


def target(**settings: str) -> Target:
    return Target("thin", network(spec(depths=(2, 1, 2), widths=(6, 8, 12))).graph, settings)


def itself(made: Teacher) -> Target:
    return Target(made.arch, made.graph, same=True)


def test_the_checkpoint_says_where_each_tensor_came_from_and_it_is_true(tmp_path: Path) -> None:
    made = teacher(spec())
    conversion = convert(made, target(), Settings(time_steps=3), PROVENANCE)
    save(tmp_path / "net.safetensors", conversion.checkpoint)
    again = read(tmp_path / "net.safetensors")
    rows = again.mapping["tensors"]
    assert [row["target"] for row in rows] == list(again.tensors)
    for row in rows:
        assert list(again.tensors[row["target"]].shape) == row["target_shape"]
        if row["source"] is None:
            assert row["rule"] == "fresh"
            assert row["reason"]
        else:
            assert equals_rule(again.tensors[row["target"]], made.tensors[row["source"].removeprefix("module.")])
    assert again.mapping["activation_sites"] == len(again.neurons) == 11
    assert again.teacher["sha256"] == made.sha256
    assert again.teacher["file"] == "teacher.pth"  # not where it lay
    assert again.time_steps == 3
    assert runtime.network(again)(torch.randn(2, 3, 8, 8)).shape == (3, 2, 5)


def test_each_tensors_line_says_how_much_of_it_is_the_teachers() -> None:
    made = teacher(spec())
    checkpoint = convert(made, target(), Settings(), PROVENANCE).checkpoint
    rows = {row["target"]: row for row in checkpoint.mapping["tensors"]}
    wider, same, fresh = rows["layer1.0.conv1.weight"], rows["layer2.0.bn1.bias"], rows["fc.weight"]
    assert (wider["status"], wider["repeats"]) == ("looped", [2, 2])  # 6 channels from 4
    assert (same["status"], same["repeats"]) == ("exact", [1, 1])
    assert (fresh["status"], fresh["repeats"], fresh["source_shape"]) == ("fresh", None, None)
    for name, row in rows.items():
        assert row["sha256"] == hashlib.sha256(checkpoint.tensors[name].numpy().tobytes()).hexdigest()


def test_its_own_graph_takes_every_tensor_and_reads_as_the_same_network() -> None:
    for made in (teacher(spec()), gated()):
        conversion = convert(made, itself(made), Settings(), PROVENANCE)
        tensors, mapping = conversion.checkpoint.tensors, conversion.checkpoint.mapping
        assert {row["status"] for row in mapping["tensors"]} == {"exact"}
        assert mapping["settings"]["head"] == "copy"
        assert mapping["settings"]["match"] == "same"
        images = torch.randn(4, *made.input_shape)
        with torch.no_grad():
            theirs, ours = (build(made.graph, read).eval()(images) for read in (made.tensors, tensors))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
        assert not mapping["unused"]
        assert runtime.network(conversion.checkpoint)(images).shape == (4, 4, made.classes)


def gated() -> Teacher:
    """A network that none of ours is: SiLU, squeeze and excitation, joined channels, and blocks among it."""
    layers = [SqueezeExcite(8, linear=False), nn.SiLU(), Res2(8)]
    torch.manual_seed(0)
    traced = trace_known(replicas.network(*layers), (3, 16, 16))
    keys = {name: name for name in traced.tensors}
    return replace(teacher(spec()), graph=traced.graph, tensors=traced.tensors, keys=keys, arch="gated")


def test_its_own_graph_without_a_block_is_mapped_too() -> None:
    net = nn.Sequential(
        *conv_bn(3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)
    )
    traced = trace_known(net, (3, 8, 8))
    made = replace(teacher(spec()), graph=traced.graph, tensors=traced.tensors, keys={name: name for name in traced.tensors})
    mapping = convert(made, itself(made), Settings(), PROVENANCE).checkpoint.mapping
    assert {(row["status"], row["place"]) for row in mapping["tensors"]} == {("exact", "network")}
    assert mapping["pairs"] == []
    fresh = convert(made, itself(made), Settings(head="fresh"), PROVENANCE).checkpoint.mapping
    assert [row["target"] for row in fresh["tensors"] if row["status"] == "fresh"] == ["7.weight", "7.bias"]


def test_its_own_graph_leaves_fresh_what_is_asked_to() -> None:
    made = teacher(spec())
    mapping = convert(made, itself(made), Settings(head="fresh", shortcuts="fresh"), PROVENANCE).checkpoint.mapping
    fresh = {row["target"]: row["reason"] for row in mapping["tensors"] if row["status"] == "fresh"}
    assert fresh["fc.bias"] == "the head was asked to stay fresh"
    assert fresh["layer2.0.downsample.1.running_mean"] == "shortcuts were asked to stay fresh"
    assert len(fresh) == 2 + 5


def test_what_to_be_careful_of_is_recorded() -> None:
    made = gated()
    told = [caution["reason"] for caution in convert(made, itself(made), Settings(), PROVENANCE).checkpoint.mapping["cautions"]]
    assert any("are silu" in reason for reason in told)
    assert any("gates that stay gates: 1 (sigmoid)" in reason for reason in told)


def test_a_file_of_pairs_decides_and_is_recorded_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('default = "prefix"\n"stage1.block1" = "stage2.block2"\n')
    mapping = convert(teacher(spec()), target(), Settings(match=str(tmp_path / "mine.toml")), PROVENANCE).checkpoint.mapping
    pairs = {pair["target"]: (pair["source"], pair["source_stage"]) for pair in mapping["pairs"]}
    assert pairs["stage1.block1"] == ("stage2.block2", 1)
    assert mapping["settings"]["match"] == "mine.toml"
    first = next(row for row in mapping["tensors"] if row["target"] == "layer1.1.conv1.weight")
    assert first["source"] == "module.layer2.2.conv1.weight"


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, convert(teacher(spec()), target(), Settings(), PROVENANCE).checkpoint)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_settings_are_recorded_with_those_of_the_target() -> None:
    built = {"downsample": "projection"}
    recorded = convert(teacher(spec()), target(**built), Settings(seed=3), PROVENANCE).checkpoint.mapping["settings"]
    assert recorded == {**built, "match": "relative", "scale": "none", "shortcuts": "init", "head": "fresh", "seed": 3}


def test_the_seed_draws_what_is_fresh_and_nothing_else() -> None:
    one, two = (convert(teacher(spec()), target(), Settings(seed=seed), PROVENANCE).checkpoint for seed in (0, 1))
    differ = {name for name in one.tensors if not torch.equal(one.tensors[name], two.tensors[name])}
    assert differ
    assert differ <= {row["target"] for row in one.mapping["tensors"] if row["source"] is None}


def test_preserve_scaling_makes_a_wider_copy_that_computes_the_same_features() -> None:
    made = teacher(spec(shortcut="pad"))
    wide = network(spec(widths=(8, 16), shortcut="pad"))
    settings = Settings(scale="preserve")
    checkpoint = convert(made, Target("wide", wide.graph), settings, PROVENANCE).checkpoint
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        theirs = build(made.graph, made.tensors).eval()
        ours = build(wide.graph, checkpoint.tensors).eval()
        wanted, given = (torch.nn.Sequential(net.conv1, net.bn1, torch.nn.ReLU())(images) for net in (theirs, ours))  # type: ignore[arg-type]
    torch.testing.assert_close(given, wanted[:, torch.arange(8) % 4])


def test_unread_tensors_of_the_file_are_listed() -> None:
    made = replace(teacher(spec()), unread={"bn1.num_batches_tracked": "counter"})
    unused = convert(made, target(), Settings(), PROVENANCE).checkpoint.mapping["unused"]
    assert {"source": "bn1.num_batches_tracked", "reason": "counter"} in unused


def test_a_teacher_that_is_not_finite_is_refused() -> None:
    made = teacher(spec())
    made.tensors["layer1.0.conv1.weight"][0, 0] = torch.nan
    with pytest.raises(UserError, match="finite"):
        convert(made, target(), Settings(), PROVENANCE)


def test_unknown_settings_are_refused() -> None:
    for settings, told in (
        (Settings(scale="big"), "unknown scale 'big'"),
        (Settings(encoder="morse"), "unknown encoder 'morse'"),
        (Settings(time_steps=0), "at least 1"),
        (Settings(match="best"), "unknown match rule"),
        (Settings(neuron=Neuron(learn_decay=True)), "fixed numbers"),
    ):
        with pytest.raises(UserError, match=told):
            convert(teacher(spec()), target(), settings, PROVENANCE)


def test_the_metadata_is_plain_json() -> None:
    metadata = convert(teacher(spec()), target(), Settings(), PROVENANCE).checkpoint.metadata()
    assert json.loads(json.dumps(metadata)) == metadata


def chain(name: str, width: float = 0.125) -> Target:
    return Target(name, build_target(name, input_shape=(3, 32, 32), classes=5, width=width).graph)


def as_teacher(made: Target) -> Teacher:
    tensors = random_tensors(made.graph)
    return replace(teacher(spec()), graph=made.graph, tensors=tensors, keys={name: name for name in tensors})


def test_a_chain_takes_nothing_from_blocks_and_says_so_of_every_tensor() -> None:
    """And a teacher that joins its paths by concatenation is no chain either."""
    for theirs in (teacher(spec(input_size=32)), as_teacher(chain("densenet121"))):
        conversion = convert(theirs, chain("vgg5"), Settings(), PROVENANCE)
        mapping = conversion.checkpoint.mapping
        assert {row["status"] for row in mapping["tensors"]} == {"fresh"}
        assert {row["reason"] for row in (*mapping["tensors"], *mapping["unused"])} == {NOTHING_CORRESPONDS}
        assert mapping["cautions"][-1]["reason"].startswith("nothing was taken from the teacher")
        assert mapping["settings"]["match"] == "none"
        assert len(conversion.checkpoint.neurons) == 4


def test_chains_are_aligned_layer_by_layer_along_their_length() -> None:
    conversion = convert(as_teacher(chain("vgg16_bn")), chain("vgg5"), Settings(), PROVENANCE)
    rows = {row["target"]: row for row in conversion.checkpoint.mapping["tensors"]}
    assert [rows[f"conv{i}.weight"]["source"] for i in (1, 2, 3)] == ["conv3.weight", "conv7.weight", "conv11.weight"]
    assert rows["fc.weight"]["reason"] == "the head stays fresh, as published"
    assert {row["place"] for row in rows.values()} == {"network"}
    unused = {row["source"]: row["reason"] for row in conversion.checkpoint.mapping["unused"]}
    assert unused["conv1.weight"] == "the target has no layer for it"
    assert unused["fc.weight"] == "the head stays fresh"
    assert unused["conv3.bias"] == "the target's layer has no bias"
    told = [row["reason"] for row in conversion.checkpoint.mapping["cautions"]]
    assert "3 convolutions come without the teacher's norms, which the target has none of; their scale is arbitrary" in told


def test_residual_blocks_without_norms_take_those_of_a_resnet() -> None:
    conversion = convert(teacher(spec(input_size=32)), chain("resnet12"), Settings(), PROVENANCE)
    assert [pair.target.name for pair in conversion.plan.pairs] == [f"stage{i}.block0" for i in (1, 2, 3, 4)]
    assert len(conversion.checkpoint.neurons) == 11
