from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from idsnn_convert import runtime
from idsnn_convert.passes.convert import Settings, convert
from idsnn_convert.passes.interpolate import equals_rule
from idsnn_convert.passes.types import Canonical
from idsnn_convert.runtime.checkpoint import read, save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from tests.passes.made import network, spec, teacher

PROVENANCE = {"converter": "test"}


def target() -> Canonical:
    return network(spec(depths=(2, 1, 2), widths=(6, 8, 12)))


def test_the_checkpoint_says_where_each_tensor_came_from_and_it_is_true(tmp_path: Path) -> None:
    made = teacher(spec())
    conversion = convert(made, target(), "thin", Settings(time_steps=3), PROVENANCE)
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


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, convert(teacher(spec()), target(), "thin", Settings(), PROVENANCE).checkpoint)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_settings_are_recorded_with_those_of_the_target() -> None:
    built = {"downsample": "projection"}
    recorded = convert(teacher(spec()), target(), "thin", Settings(seed=3), PROVENANCE, built).checkpoint.mapping["settings"]
    assert recorded == {**built, "match": "relative", "scale": "none", "shortcuts": "init", "head": "fresh", "seed": 3}


def test_the_seed_draws_what_is_fresh_and_nothing_else() -> None:
    one, two = (convert(teacher(spec()), target(), "thin", Settings(seed=seed), PROVENANCE).checkpoint for seed in (0, 1))
    differ = {name for name in one.tensors if not torch.equal(one.tensors[name], two.tensors[name])}
    assert differ
    assert differ <= {row["target"] for row in one.mapping["tensors"] if row["source"] is None}


def test_preserve_scaling_makes_a_wider_copy_that_computes_the_same_features() -> None:
    made = teacher(spec(shortcut="pad"))
    wide = network(spec(widths=(8, 16), shortcut="pad"))
    settings = Settings(scale="preserve")
    checkpoint = convert(made, wide, "wide", settings, PROVENANCE).checkpoint
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        theirs = build(made.graph, made.tensors).eval()
        ours = build(wide.graph, checkpoint.tensors).eval()
        wanted, given = (torch.nn.Sequential(net.conv1, net.bn1, torch.nn.ReLU())(images) for net in (theirs, ours))  # type: ignore[arg-type]
    torch.testing.assert_close(given, wanted[:, torch.arange(8) % 4])


def test_unread_tensors_of_the_file_are_listed() -> None:
    made = replace(teacher(spec()), unread={"bn1.num_batches_tracked": "counter"})
    unused = convert(made, target(), "thin", Settings(), PROVENANCE).checkpoint.mapping["unused"]
    assert {"source": "bn1.num_batches_tracked", "reason": "counter"} in unused


def test_a_teacher_that_is_not_finite_is_refused() -> None:
    made = teacher(spec())
    made.tensors["layer1.0.conv1.weight"][0, 0] = torch.nan
    with pytest.raises(UserError, match="finite"):
        convert(made, target(), "thin", Settings(), PROVENANCE)


def test_unknown_settings_are_refused() -> None:
    for settings, told in (
        (Settings(scale="big"), "unknown scale 'big'"),
        (Settings(encoder="morse"), "unknown encoder 'morse'"),
        (Settings(time_steps=0), "at least 1"),
        (Settings(match="best"), "unknown match rule"),
    ):
        with pytest.raises(UserError, match=told):
            convert(teacher(spec()), target(), "thin", settings, PROVENANCE)


def test_the_metadata_is_plain_json() -> None:
    metadata = convert(teacher(spec()), target(), "thin", Settings(), PROVENANCE).checkpoint.metadata()
    assert json.loads(json.dumps(metadata)) == metadata
