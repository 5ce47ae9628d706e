from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from idsnn_convert import learn
from idsnn_convert.api import convert
from idsnn_convert.identify import Identification
from idsnn_convert.learn import LONG, evaluate_file, read_by, train_file
from idsnn_convert.normalised import Normalised
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.families.variants import graph_of, read_as
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fingerprint import NormalisationChoice
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.native import compiler
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.readout import Readout
from tests.idsnn_convert import files


def test_who_decides_a_teachers_normalisation(tmp_path: Path) -> None:
    """Whoever knows, else what its batch norms remember, else habit; how it is read is told."""
    dataset, said = open_dataset(files.data(tmp_path / "data")), list[str]()
    teacher = load_teacher(files.teacher(tmp_path / "net.pth"))
    known = Normalised(KNOWN["half"], "as asked")
    assert read_by(teacher, dataset, known, said.append)[1] == known
    assert said[0].startswith("network: ")
    read, doubtful = read_by(teacher, dataset, None, said.append)
    assert "not beyond doubt" in doubtful.reason
    assert read.evidence["verdict"] == "other"


def test_a_teacher_without_batch_norms_gets_the_usual_normalisation(tmp_path: Path) -> None:
    dataset, said = open_dataset(files.data(tmp_path / "data")), list[str]()
    teacher = load_teacher(files.teacher(tmp_path / "net.pth"))
    norms = {node.name: replace(node, op="dropout", attrs={"p": 0.1}) for node in teacher.graph.of("batch_norm")}
    _, usual = read_by(replace(teacher, graph=teacher.graph.with_nodes(norms)), dataset, None, said.append)
    assert usual.normalisation == KNOWN["fashion-mnist"]
    assert "no batch norm to tell" in usual.reason
    assert said == []


def test_a_teacher_is_evaluated_as_its_batch_norms_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, spec = files.teacher(tmp_path / "net.pth"), files.data(tmp_path / "data")
    other = replace(files.SPEC, after_add="none")

    def found(teacher: Teacher, *_: object) -> tuple[Teacher, Identification]:
        silent = Identification("fashion-mnist", "train", 1, NormalisationChoice((), clear=False))
        return read_as(teacher, other), silent

    before, _ = evaluate_file(path, spec, normalisation="half")
    monkeypatch.setattr(learn, "identified", found)
    after, _ = evaluate_file(path, spec, normalisation="half")
    assert before.loss != after.loss
    network = build(graph_of(other), load_teacher(path).tensors).eval()
    images = KNOWN["half"](open_dataset(spec).test.images)
    assert after.loss == pytest.approx(F.cross_entropy(network(images), open_dataset(spec).test.labels).item(), rel=1e-5)


def test_compiled_and_plain_evaluation_agree(tmp_path: Path) -> None:
    if not can_compile(torch.device("cpu")):
        pytest.skip("no C++ compiler here")
    spec = files.data(tmp_path / "data")
    place, _ = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    said: list[str] = []
    plain, _ = evaluate_file(place, spec, told=said.append)
    fused, _ = evaluate_file(place, spec, compiled=True, told=said.append)
    assert fused.loss == pytest.approx(plain.loss, rel=1e-4)
    assert [line for line in said if line.startswith("kernels")] == [
        "kernels: plain PyTorch",
        "kernels: batch norm, residual and neuron fused and compiled",
    ]


def test_a_teacher_is_evaluated_by_quick_convolutions_where_they_pay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler() is None:
        pytest.skip("no C++ compiler here")
    spec, path = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    losses, told = [], []
    for worth, compiled in ((1, None), (1, False), (1_000_000, None)):
        monkeypatch.setattr(learn, "WORTH_CONVOLVING", worth)
        said: list[str] = []
        found, _ = evaluate_file(path, spec, normalisation="half", compiled=compiled, told=said.append)
        losses.append(found.loss)
        told.append([line for line in said if line.startswith("convolutions")])
    quick = "convolutions: where they are 3x3 in float32, by Winograd's algorithm"
    assert told == [[quick], [], []]
    assert losses[1] == losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_without_a_compiler_compiled_kernels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "can_compile", lambda device: False)
    place, _ = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    with pytest.raises(UserError, match="need a C\\+\\+ compiler"):
        evaluate_file(place, files.data(tmp_path / "data"), compiled=True)


@pytest.mark.usefixtures("uncompiled")
def test_long_simulations_and_time_chunks_run_on_compiled_kernels_where_they_pay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "can_compile", lambda device: True)
    monkeypatch.setattr(learn, "WORTH_COMPILING", 1)
    spec, said = files.data(tmp_path / "data"), list[str]()
    place, _ = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s", settings=Settings(time_steps=3))
    long = {"time_steps": LONG + 2, "limit": 4}
    fused, _ = evaluate_file(place, spec, **long, told=said.append)  # type: ignore[arg-type]
    plain, _ = evaluate_file(place, spec, **long, compiled=False)  # type: ignore[arg-type]
    assert fused.loss == pytest.approx(plain.loss, rel=1e-3)
    short = ["run.epochs=1", "run.batch_size=20", "run.time_chunk=2"]
    train_file(place, spec, tmp_path / "run", recipe="init-only", overrides=short, limit_train=20, told=said.append)
    kinds = [line for line in said if line.startswith("kernels")]
    assert kinds == ["kernels: batch norm, residual and neuron fused and compiled"] * 2


def test_training_starts_from_the_checkpoint_or_afresh(tmp_path: Path) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    place, student = convert(teacher, "resnet8", tmp_path / "s", settings=Settings(time_steps=2))
    short = ["run.epochs=1", "run.batch_size=20", "optimizer.lr=1e-9"]
    for recipe, same in (("init-only", True), ("baseline", False)):
        run = train_file(place, spec, tmp_path / recipe, recipe=recipe, overrides=short, compiled=False)
        after = read(run.result.last).tensors["layer1.0.conv1.weight"]
        assert torch.allclose(after, student.tensors["layer1.0.conv1.weight"], atol=1e-6) == same


def test_feature_maps_neurons_and_readout_by_recipe(tmp_path: Path) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    place, _ = convert(teacher, "resnet8", tmp_path / "s", settings=Settings(time_steps=2))
    loss = ["loss.alpha=0", "loss.tap_weight=1.0", "loss.ensemble_weight=0.5", "augment.mixup=0.2"]
    network = ["network.readout=membrane", "network.readout_decay=0.5", 'neuron.learn=["decay", "v_threshold"]']
    short = ["run.epochs=1", "run.batch_size=20"]
    run = train_file(
        place, spec, tmp_path / "run", teacher=teacher, recipe="modern", overrides=[*loss, *network, *short], compiled=False
    )
    trained = read(run.result.last)
    metrics = trained.training["metrics"]
    assert min(metrics["train_tap"], metrics["train_ensemble"]) > 0 == metrics["train_kl"]
    assert trained.readout == Readout("membrane", 0.5)
    assert all(row["learn_decay"] and row["decay"] != 0.25 for row in trained.neurons)
    found, _ = evaluate_file(run.result.last, spec, normalisation="fashion-mnist", compiled=False)
    assert found.top1 == pytest.approx(run.result.last_top1)


def test_a_teachers_logits_are_kept_from_run_to_run(tmp_path: Path) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    cache, told = tmp_path / "cache", list[str]()
    found: list[float | None] = []
    for arch, lr, gib, normalisation in (
        ("resnet8", 0.1, 4.0, None),
        ("resnet14", 0.01, 4.0, None),  # another student, another rate
        ("resnet8", 0.1, 0.0, None),
        ("resnet8", 0.1, 4.0, "0.4/0.3"),
    ):
        place, _ = convert(teacher, arch, tmp_path / arch, settings=Settings(time_steps=2))
        run = train_file(
            place,
            spec,
            tmp_path / f"run{len(found)}",
            teacher=teacher,
            overrides=["run.batch_size=20", "run.epochs=1", f"optimizer.lr={lr}"],
            normalisation=normalisation,
            compiled=False,
            teacher_cache=cache,
            teacher_cache_gib=gib,
            told=told.append,
        )
        found.append(read(run.result.last).training["metrics"].get("teacher_cached_percent"))
    assert found == [0, 100, None, 0]
    assert not [line for line in told if "teacher cache" in line]


@pytest.mark.parametrize(
    ("overrides", "spiking", "reason"),
    [
        (["loss.alpha=0"], False, "the recipe asks for no logits of a teacher"),
        (["loss.alpha=0", "loss.tap_weight=1"], False, "the recipe asks for no logits of a teacher"),
        (["loss.tap_weight=1"], False, "the recipe compares feature maps, which are not kept"),
        ([], True, "a spiking teacher's logits are not kept"),
    ],
)
def test_where_no_logits_are_kept_the_reason_is_told(tmp_path: Path, overrides: list[str], spiking: bool, reason: str) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    place, _ = convert(teacher, "resnet8", tmp_path / "s", settings=Settings(time_steps=2))
    told: list[str] = []
    short = ["run.batch_size=20", "run.epochs=1", *overrides]
    tutor, cache = place if spiking else teacher, tmp_path / "cache"
    train_file(
        place, spec, tmp_path / "run", teacher=tutor, overrides=short, teacher_cache=cache, compiled=False, told=told.append
    )
    assert f"teacher cache: not used; {reason}" in told
    assert not cache.exists()


def test_feature_maps_need_the_teacher_of_the_conversion(tmp_path: Path) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    place, _ = convert(teacher, "resnet14", tmp_path / "s")
    other = files.teacher(tmp_path / "other.pth", replace(files.SPEC, depths=(1, 1, 1)))
    overrides = ["loss.alpha=0", "loss.tap_weight=1.0", "run.epochs=1"]
    with pytest.raises(UserError, match=r"tap_weight = 1\), but there is no teacher"):
        train_file(place, spec, tmp_path / "run", overrides=overrides, compiled=False)
    with pytest.raises(UserError, match="teacher has no map"):
        train_file(place, spec, tmp_path / "run", teacher=other, overrides=overrides, compiled=False)
    assert not (tmp_path / "run").exists()


def test_the_teachers_normalisation_is_recorded_in_the_student(tmp_path: Path) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    place, _ = convert(teacher, "resnet8", tmp_path / "s")
    short = ["run.epochs=1", "run.batch_size=20"]
    run = train_file(place, spec, tmp_path / "run", teacher=teacher, overrides=short, normalisation="half", compiled=False)
    assert read(run.result.last).normalisation == KNOWN["half"].to_json()
    assert read(run.result.last).training["recipe"]["run"]["epochs"] == 1


def test_fewer_test_images_after_each_epoch(tmp_path: Path) -> None:
    spec, teacher = files.data(tmp_path / "data"), files.teacher(tmp_path / "net.pth")
    place, _ = convert(teacher, "resnet8", tmp_path / "s", settings=Settings(time_steps=1))
    short = ["run.epochs=1", "run.batch_size=20"]
    run = train_file(place, spec, tmp_path / "run", recipe="init-only", overrides=short, limit_test=8, compiled=False)
    assert read(run.result.last).training["test_images"] == 8
