from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from idsnn_convert.api import convert
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.report.build import recorded
from idsnn_convert.report.data import described_teacher
from idsnn_convert.report.record import Record
from idsnn_convert.report.terminal import (
    print_checkpoint,
    print_conversion,
    print_evaluation,
    print_mapping,
    print_teacher,
    print_training,
)
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.trainer import TrainResult
from tests.idsnn_convert import files


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_nothing_is_wider_than_80_columns_but_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.teacher(tmp_path / "net.pth")
    _, checkpoint = convert(path, "resnet56", tmp_path / "s")
    print_checkpoint(recorded(checkpoint))
    facts = described_teacher(load_teacher(path))
    print_teacher({**facts, "file": "net.pth"})
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_the_mapping_counts_every_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, checkpoint = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    print_mapping(recorded(checkpoint))
    out = capsys.readouterr().out
    assert f"of {len(checkpoint.tensors)} tensors" in out
    assert "fc.weight, fc.bias" in out


def test_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(Evaluation(81.5, 0.46, 1000, 2.0, (70.0, 81.5), 99.0, (98.0, 99.0)), "half")
    out = capsys.readouterr().out
    assert "top-5 99.00 %" in out
    assert "T=1 98.00, T=2 99.00" in out
    assert "top-1 81.50 %" in out
    assert "T=1 70.00, T=2 81.50" in out
    assert "500 images/s" in out


def test_neurons_of_two_kinds_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, checkpoint = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    last = checkpoint.graph.of("neuron")[-1]
    integrating = replace(last, attrs={**last.attrs, "kind": "if", "decay": 1.0})
    print_checkpoint(recorded(replace(checkpoint, graph=checkpoint.graph.with_nodes({last.name: integrating}))))
    out = files.unwrapped(capsys.readouterr().out)
    assert "7 LIF/IF layers for 7 activation sites" in out
    assert "Neurons: lif, v_threshold 0.5, decay 0.25, hard reset" in out
    assert "Neurons: if, v_threshold 0.5, decay 1, hard reset" in out
    assert f"1 64x7x7 {last.name}" in out


def test_cautions_stand_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, checkpoint = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    told = {"reason": "3 of 13 activations are silu", "node": "a", "source": "", "advice": "Train longer."}
    print_conversion(recorded(replace(checkpoint, mapping={**checkpoint.mapping, "cautions": [told]})), place)
    assert "caution 3 of 13 activations are silu. Train longer." in files.unwrapped(capsys.readouterr().out)


def test_what_images_said_of_the_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evidence = {
        "data": "cifar10",
        "images": 300,
        "verdict": "same",
        "batch_norms": [{"agrees": True}] * 19,
        "readings": [{}] * 11,
        "changed": ["Blocks stride in their last convolution."],
        "established": ["There is no ReLU after an add."],
        "normalisation_clear": True,
        "normalisation": {"name": "imagenet"},
    }
    _, checkpoint = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    print_mapping(recorded(replace(checkpoint, teacher={**checkpoint.teacher, "evidence": evidence})))
    out = files.unwrapped(capsys.readouterr().out)
    assert "told 19 of 19 batch norms agree with 300 images of cifar10; 10 other readings fit less told Not what" in out
    assert "told Not what its names and shapes suggest: Blocks stride in their last convolution." in out
    assert "told There is no ReLU after an add. told Its images were normalised by imagenet." in out


def test_how_a_run_ended(capsys: pytest.CaptureFixture[str]) -> None:
    print_training(TrainResult(5, 81.25, 3, 80.5, Path("run/best.safetensors"), Path("run/last.safetensors")))
    best, last = capsys.readouterr().out.splitlines()
    assert best == "best top-1 81.25 % in epoch 3: run/best.safetensors"
    assert last == "last top-1 80.50 % in epoch 5: run/last.safetensors"
    ema = (81.5, Path("run/best_ema.safetensors"))
    print_training(TrainResult(5, 81.25, 3, 80.5, Path("run/best.safetensors"), Path("run/last.safetensors"), *ema))
    assert capsys.readouterr().out.splitlines()[2] == "moving average, best top-1 81.50 %: run/best_ema.safetensors"


def test_hostile_names_are_one_visible_line(hostile: Record, capsys: pytest.CaptureFixture[str]) -> None:
    print_checkpoint(hostile)
    out = capsys.readouterr().out
    assert not {"\x1b", "\u202e"} & set(out)
    assert "\\x1b[31m\\n" in out
