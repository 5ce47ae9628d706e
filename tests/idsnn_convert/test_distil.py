"""Teachers of any kind for one student, through the files that hold them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from idsnn_convert.api import convert
from idsnn_convert.distil import open_tutor, shown_images, tap_pairs, tutor_network
from idsnn_convert.learn import train_file
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.levels import levels
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import supported
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.recipe import Loss
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.taps import TapPair
from idsnn_convert.runtime.tutors import Renormalised, SpikingTutor
from tests.idsnn_convert import files

needs_bytes = pytest.mark.skipif(not supported(), reason="this processor does not multiply bytes (AVX-512 VNNI)")
FULL = "run.teacher_precision=float32"
SHORT = ["run.epochs=1", "run.batch_size=20", "run.time_chunk=2", "network.time_steps=3"]


def made(folder: Path) -> tuple[Path, Path, str]:
    """A teacher, a student of it and the data."""
    teacher = files.teacher(folder / "net.pth")
    place, _ = convert(teacher, "resnet8", folder / "s", settings=Settings(time_steps=2))
    return teacher, place, files.data(folder / "data")


@pytest.mark.parametrize("recipe", ["lasnn", "lasnn-gradient", "hybrid", "label-kd", "spike-kd"])
def test_recipes_train_with_any_teacher(recipe: str, tmp_path: Path) -> None:
    _, student, data = made(tmp_path)
    other = files.teacher(tmp_path / "other.pth", replace(files.SPEC, depths=(1, 1, 1)))
    if recipe == "spike-kd":
        other, _ = convert(other, "resnet14", tmp_path / "spiking", settings=Settings(time_steps=5))
    teacher = {} if recipe == "hybrid" else {"teacher": other}
    run = train_file(student, data, tmp_path / "run", recipe=recipe, overrides=SHORT, compiled=False, **teacher)
    trained = read(run.result.last)
    metrics = trained.training["metrics"]
    assert (metrics["train_tap"] > 0) == recipe.startswith("lasnn")
    assert (metrics["train_kl"] > 0) == recipe.endswith("kd")
    assert (trained.time_steps, trained.encoder, trained.readout.kind) == (3, "poisson", "membrane")
    assert all(row["surrogate"] == "linear" and row["width"] == row["v_threshold"] for row in trained.neurons)


def test_a_teacher_keeps_its_own_normalisation(tmp_path: Path) -> None:
    teacher, student, data = made(tmp_path)
    trained = [
        train_file(student, data, tmp_path / name, recipe="init-only", overrides=SHORT, normalisation=name, compiled=False)
        for name in ("half", "fashion-mnist")
    ]
    ours, theirs = (run.result.last for run in trained)
    told: list[str] = []
    for place, tutor in (("again", theirs), ("own", teacher)):  # another network; the one that the student was made from
        more: dict[str, Any] = {"recipe": "label-kd", "overrides": SHORT, "compiled": False, "told": told.append}
        run = train_file(ours, data, tmp_path / place, teacher=tutor, **more)
        assert run.normalised.normalisation == KNOWN["half"]
    assert [line for line in told if "teacher's images" in line] == [
        "the teacher's images: fashion-mnist normalisation: as the file says"
    ]


def test_a_teacher_is_wrapped_only_where_it_must_be(tmp_path: Path) -> None:
    teacher, student, _ = made(tmp_path)
    half, usual = KNOWN["half"], KNOWN["cifar10"]
    plain, spiking = open_tutor(teacher), open_tutor(student)
    assert not isinstance(tutor_network(plain, (), 4, half, half), Renormalised)
    assert isinstance(tutor_network(plain, (), 4, half, usual), Renormalised)
    network = tutor_network(spiking, (), 7, half, half)
    assert isinstance(network, SpikingTutor)
    assert len(network(torch.zeros(1, *spiking.graph.input_shape))[0]) == 7  # as many steps as the student


def test_batch_norms_of_a_teacher_are_folded_unless_they_are_asked_for(tmp_path: Path) -> None:
    tutor, half = open_tutor(files.teacher(tmp_path / "net.pth")), KNOWN["half"]
    norm = next(node.name for node in tutor.graph.of("batch_norm"))
    conv, site = tutor.graph[norm].inputs[0], levels(tutor.graph)[0]
    images = torch.randn(4, *tutor.graph.input_shape)
    plain = build(tutor.graph, tutor.tensors, taps=[conv, norm, site]).eval()
    with torch.no_grad():
        logits, *values = plain(images)
        for name, value in zip((conv, norm, site), values, strict=True):
            network = tutor_network(tutor, (TapPair("", name),), 4, half, half).eval()
            found = network(images)
            torch.testing.assert_close(found[0], logits, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(found[1], value, rtol=1e-4, atol=1e-4)
            folds = not any("BatchNorm2d" in type(module).__name__ for module in network.modules())
            assert folds == (name == site)


@needs_bytes
@pytest.mark.parametrize("kind", ["plain", "spiking"])
def test_a_teacher_in_8_bits(tmp_path: Path, kind: str) -> None:
    teacher, student, data = made(tmp_path)
    own = teacher if kind == "plain" else student
    lines: list[str] = []
    settings = [*SHORT, "run.batch_size=10", "run.teacher_precision=int8", "loss.tap_weight=1.0"]
    more: dict[str, Any] = {"recipe": "label-kd", "overrides": settings, "compiled": False, "told": lines.append}
    if kind == "spiking":
        settings += ["loss.taps=levels"]
    first, again = (train_file(student, data, tmp_path / name, teacher=own, **more) for name in ("first", "again"))
    found, wanted = (read(run.result.last).training["metrics"] for run in (first, again))
    assert found["train_kl"] == wanted["train_kl"] > 0
    plain = train_file(student, data, tmp_path / "plain", teacher=own, **(more | {"overrides": [*settings, FULL]}))
    exact = read(plain.result.last).training["metrics"]
    assert found["train_kl"] == pytest.approx(exact["train_kl"], rel=0.05)
    assert found["train_kl"] != exact["train_kl"]
    told = [line for line in lines if "in 8 bits" in line]
    assert [line.partition(";")[0] for line in told] == (
        [] if kind == "spiking" else ["teacher: 14 of 15 convolutions in 8 bits"] * 2
    )


@needs_bytes
def test_a_spiking_teacher_without_convolutions_of_spikes(tmp_path: Path) -> None:
    teacher, student, data = made(tmp_path)
    pooled, _ = convert(teacher, "conv3-fc2", tmp_path / "pooled", settings=Settings(time_steps=2))
    more: dict[str, Any] = {"recipe": "label-kd", "overrides": [*SHORT, "run.teacher_precision=int8"], "compiled": False}
    with pytest.raises(UserError, match=r"reads spikes alone[\s\S]*run\.teacher_precision=same"):
        train_file(student, data, tmp_path / "run", teacher=pooled, **more)


@needs_bytes
def test_a_teacher_that_is_not_asked_stays_as_it_is(tmp_path: Path) -> None:
    teacher, student, data = made(tmp_path)
    lines: list[str] = []
    settings = [*SHORT, "run.teacher_precision=int8", "loss.alpha=0"]
    train_file(
        student,
        data,
        tmp_path / "run",
        teacher=teacher,
        overrides=settings,
        recipe="label-kd",
        compiled=False,
        told=lines.append,
    )
    assert not [line for line in lines if "8 bits" in line]


def test_training_images_are_needed_for_8_bits(tmp_path: Path) -> None:
    dataset = open_dataset(files.data(tmp_path / "data"))
    for path in (tmp_path / "data").rglob("train*"):
        path.unlink()
    with pytest.raises(UserError, match="a teacher is put into 8 bits by training images, and "):
        shown_images(dataset, KNOWN["half"])


@needs_bytes
def test_a_teacher_in_8_bits_has_no_gradients(tmp_path: Path) -> None:
    teacher, student, data = made(tmp_path)
    more: dict[str, Any] = {"recipe": "lasnn-gradient", "overrides": [*SHORT, "run.teacher_precision=int8"]}
    with pytest.raises(UserError, match=r"one in 8 bits \(run\.teacher_precision=int8\) has not"):
        train_file(student, data, tmp_path / "run", teacher=teacher, compiled=False, **more)
    assert not (tmp_path / "run").exists()


def test_where_student_and_teacher_are_compared(tmp_path: Path) -> None:
    teacher, student, _ = made(tmp_path)
    start, tutor = read(student), open_tutor(teacher)

    def pairs(**settings: Any) -> list[tuple[str, str]]:
        loss = Loss(**{"tap_weight": 1.0, **settings})
        return [(tap.student, tap.teacher) for tap in tap_pairs(loss, start, tutor)]

    assert pairs() == [(row["student"], row["teacher"]) for row in start.mapping["taps"]]
    assert pairs(taps="levels") == list(zip(levels(start.graph), levels(tutor.graph), strict=True))
    low, *_ = levels(start.graph)
    assert pairs(taps=[f"{low} = {levels(tutor.graph)[2]}"]) == [(low, levels(tutor.graph)[2])]
    assert pairs(tap_weight=0.0) == []


def test_gradient_attention_needs_gradients_and_spikes(tmp_path: Path) -> None:
    teacher, student, data = made(tmp_path)
    with pytest.raises(UserError, match=r"asks the teacher for gradients[\s\S]*loss\.tap=attention"):
        train_file(student, data, tmp_path / "run", teacher=student, recipe="lasnn-gradient", overrides=SHORT, compiled=False)
    start = read(student)
    conv = next(node.name for node in start.graph.of("conv2d"))
    loss = Loss(tap_weight=1.0, tap="gradient", taps=[f"{conv} = {levels(open_tutor(teacher).graph)[0]}"])
    with pytest.raises(UserError, match="is no neuron"):
        tap_pairs(loss, start, open_tutor(teacher))
    assert not RunFolder(tmp_path / "run").state.exists()


def test_a_spiking_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    _, student, _ = made(tmp_path)
    with pytest.raises(UserError, match="says what it is"):
        open_tutor(student, arch="resnet8")
