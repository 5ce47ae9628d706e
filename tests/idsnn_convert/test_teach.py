from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from idsnn_convert.api import convert
from idsnn_convert.learn import evaluate_file, train_file
from idsnn_convert.passes.convert import Settings
from idsnn_convert.runtime import winograd
from idsnn_convert.runtime.ann_file import read_ann
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.convolution import Convolution
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.native import compiler
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.stop import Interrupted
from idsnn_convert.runtime.trainer import Watcher
from idsnn_convert.teach import teach
from tests.idsnn_convert import files
from tests.runtime.data import images
from tests.runtime.toy import At

SHORT = ("run.epochs=2", "run.batch_size=20", "run.save_minutes=1e-9")


def taught(data: str, out: Path, *overrides: str, **more: Any) -> Path:
    """The best checkpoint of a short run of a small network."""
    arch = more.pop("arch", "resnet8")
    return teach(arch, data, out, overrides=[*SHORT, *overrides], **{"width": 0.25, **more}).result.best


def test_from_nothing_to_a_trained_student(fashion: str, tmp_path: Path) -> None:
    """teach, convert, train, evaluate: nothing is said of the teacher, nothing assumed, one normalisation throughout."""
    best = taught(fashion, tmp_path / "teacher", normalisation="half")
    place, student = convert(best, "resnet8", tmp_path / "student", settings=Settings(time_steps=2), width=0.25)
    assert student.normalisation == KNOWN["half"].to_json()
    assert student.teacher["assumptions"] == []
    run = train_file(place, fashion, tmp_path / "run", teacher=best, overrides=SHORT, compiled=False)
    assert read(run.result.last).normalisation == KNOWN["half"].to_json()
    said: list[str] = []
    evaluation, chosen = evaluate_file(best, fashion, told=said.append)
    assert evaluation.images == 24
    assert chosen.normalisation == KNOWN["half"]
    assert said[0] == "half normalisation: as the file says"  # nothing is found out that the file tells


@pytest.mark.parametrize("there", [True, False])
def test_it_learns_by_quick_convolutions(fashion: str, tmp_path: Path, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler() is None:
        pytest.skip("no C++ compiler here")
    called: list[Convolution] = []
    once = Convolution.forward

    def forward(layer: Convolution, x: torch.Tensor) -> torch.Tensor:
        called.append(layer)
        return once(layer, x)

    monkeypatch.setattr(winograd, "available", lambda: there)
    monkeypatch.setattr(Convolution, "forward", forward)
    said: list[str] = []
    taught(fashion, tmp_path / "run", "run.epochs=1", width=0.5, told=said.append)
    assert any(line.startswith("convolutions: where they are 3x3") for line in said) == there
    assert bool(called) == there


def test_a_chain_of_layers_is_taught_and_converts_to_itself_and_to_another(fashion: str, tmp_path: Path) -> None:
    best = taught(fashion, tmp_path / "ann", "run.epochs=1", arch="vgg5", width=0.0625)
    place, student = convert(best, "same", tmp_path / "student", settings=Settings(time_steps=2))
    assert [row["rule"] for row in student.mapping["tensors"]] == ["copy"] * 5
    assert student.mapping["target"] == student.teacher["arch"] == "vgg5"
    run = train_file(place, fashion, tmp_path / "run", recipe="baseline", overrides=SHORT, compiled=False)
    assert read(run.result.last).graph == student.graph
    _, fresh = convert(best, "vgg7", tmp_path / "other", width=0.0625)
    assert fresh.mapping["settings"]["match"] == "chain"


def test_it_learns_and_records_how(fashion: str, tmp_path: Path) -> None:
    last = taught(fashion, tmp_path / "run", "optimizer.lr=0.05", "run.epochs=6").with_name("last.safetensors")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    ann = read_ann(last)
    assert ann.training["metrics"] == lines[-1]
    assert ann.training["target"] == {"stem": "auto", "downsample": "pad", "width": 0.25}
    assert ann.training["recipe"]["optimizer"]["lr"] == 0.05
    assert ann.normalisation == KNOWN["fashion-mnist"].to_json()
    assert ann.graph.input_shape == (1, 28, 28)


def test_fewer_test_images_after_each_epoch(fashion: str, tmp_path: Path) -> None:
    settings = ["run.epochs=1", "run.batch_size=16"]
    teach("resnet8", fashion, tmp_path / "run", overrides=settings, width=0.25, limit_test=8)
    assert read_ann(tmp_path / "run" / "last.safetensors").training["test_images"] == 8


def test_the_seed_draws_the_weights(fashion: str, tmp_path: Path) -> None:
    still = ("run.epochs=1", "optimizer.lr=1e-9")
    first = [read_ann(taught(fashion, tmp_path / f"{k}", *still, f"run.seed={seed}")) for k, seed in enumerate((0, 0, 1))]
    weights = [ann.tensors["conv1.weight"] for ann in first]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2], atol=1e-3)


def test_a_network_described_in_a_file_and_another_stem(fashion: str, tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text("depths = [1, 1]\nwidths = [4, 6]\n")
    one = {"run": "run.epochs=1"}
    described = taught(fashion, tmp_path / "a", *one.values(), arch=str(tmp_path / "net.toml"), width=1.0)
    assert read_ann(described).arch == "net"
    wide = read_ann(taught(fashion, tmp_path / "b", *one.values(), arch="resnet18", width=0.0625, stem="imagenet"))
    assert wide.tensors["conv1.weight"].shape == (4, 1, 7, 7)


def test_the_data_may_be_asked_for_the_normalisation(fashion: str, tmp_path: Path) -> None:
    said: list[str] = []
    best = taught(fashion, tmp_path / "run", "run.epochs=1", normalisation="measured", told=said.append)
    recorded = read_ann(best).normalisation
    assert recorded is not None
    assert recorded["name"] == "measured"
    assert recorded["mean"] == [pytest.approx(0.5, abs=0.01)]  # noise of all values alike
    assert recorded["std"] == [pytest.approx(0.29, abs=0.01)]
    assert "measured normalisation: over 48 training images" in said


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(fashion: str, tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted(2)

    watcher: Watcher = At(2, 1, stop)
    whole = taught(fashion, tmp_path / "whole")
    with pytest.raises(Interrupted):
        taught(fashion, tmp_path / "stopped", watcher=watcher)
    resumed = taught(fashion, tmp_path / "stopped", resume=True)
    one, other = (read_ann(path.with_name("last.safetensors")).tensors for path in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"arch": "resnet21"}, "unknown network 'resnet21'\nDid you mean resnet"),
        ({"arch": "same"}, "same is no network of its own"),
        ({"arch": "absent.toml"}, "no such file"),
        ({"stem": "tall"}, "unknown stem 'tall'"),
        ({"recipe": "idsnn"}, r"distills \(loss\.alpha = 0\.3\), but here the teacher itself is trained"),
        ({"overrides": ("network.time_steps=3",)}, r"sets network\.time_steps, which a network without spikes"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    fashion: str, tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        teach(data=fashion, out=tmp_path / "run", **{"arch": "resnet8", **more})
    assert not (tmp_path / "run").exists()


def test_images_of_two_sizes_are_kept_apart(tmp_path: Path) -> None:
    """The students of other data: the network tells classes and channels, and says both."""
    best = taught(files.data(tmp_path / "data"), tmp_path / "run", "run.epochs=1")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "test.bin").write_bytes(bytes(2 * 3074))
    with pytest.raises(UserError, match="takes images of 1x28x28, these are 3x32x32"):
        evaluate_file(best, f"cifar100:{tmp_path / 'c'}")


def test_image_files_are_normalised_by_what_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    data = f"folder:{images.folder(tmp_path / 'set', train=10)}"
    said: list[str] = []
    best = taught(data, tmp_path / "run", "run.epochs=1", told=said.append)
    assert "measured normalisation: over 20 training images" in said
    assert read_ann(best).training["images"] == "3x8x8"
