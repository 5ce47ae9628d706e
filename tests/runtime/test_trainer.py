"""The training loop: that it learns, what it writes, what each setting does, and what stops it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.teacher_cache import TeacherCache
from tests import graphs
from tests.runtime import toy
from tests.runtime.toy import At, Killed, Log, assert_same_run, killed


def no_save(network: nn.Module, path: Path, training: dict[str, Any]) -> None:
    path.touch()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default run, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    toy.run(folder)
    return folder


def test_it_learns(tmp_path: Path) -> None:
    result = toy.run(tmp_path / "run", ["run.epochs=5", "run.batch_size=10", "schedule.kind=cosine", "optimizer.lr=0.1"])
    lines = toy.metrics(tmp_path / "run")
    assert lines[-1]["train_loss"] < 0.7 * lines[0]["train_loss"]
    assert lines[-1]["test_loss"] < lines[0]["test_loss"]
    assert result.best_top1 > 60  # chance is 25


def test_what_a_run_writes(undisturbed: Path) -> None:
    lines = toy.metrics(undisturbed)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    # the rate falls after 4, 7 and 10 of 12 batches; a line has that of its epoch's last
    assert [line["lr"] for line in lines] == pytest.approx([0.05, 0.0005, 0.00005])
    for line in lines:
        assert line["train_loss"] == line["train_ce"] > 0
        assert line["train_kl"] == 0
        assert 0 <= line["train_top1_percent"] <= 100
        assert line["train_images_per_second"] == pytest.approx(100 / line["train_seconds"])
        assert len(line["test_top1_percent_per_step"]) == toy.STEPS
        assert line["test_top1_percent_per_step"][-1] == line["test_top1_percent"]
        assert len(line["test_firing_rates"]) == 5
        assert all(0 < rate < 1 for rate in line["test_firing_rates"].values())
    assert load_recipe(undisturbed / "recipe.toml") == toy.recipe()
    best = max(line["test_top1_percent"] for line in lines)
    assert read(undisturbed / "best.safetensors").training["metrics"] == next(
        x for x in lines if x["test_top1_percent"] == best
    )
    training = read(undisturbed / "last.safetensors").training
    assert training["metrics"] == lines[-1]
    assert training["recipe"] == toy.recipe().to_json()
    assert (training["dataset"], training["train_images"], training["test_images"]) == ("stripes", 100, 80)


def test_the_result_and_what_a_watcher_is_told(tmp_path: Path) -> None:
    log = Log()
    result = toy.run(tmp_path / "run", watcher=log)
    lines = toy.metrics(tmp_path / "run")
    assert log.records == lines
    assert log.batches == [(epoch, 3, batch, 4) for epoch in (1, 2, 3) for batch in (1, 2, 3, 4)]
    assert log.losses[3::4] == [line["train_loss"] for line in lines]
    assert result.best_top1 == max(line["test_top1_percent"] for line in lines)
    assert lines[result.best_epoch - 1]["test_top1_percent"] == result.best_top1
    assert (result.epochs, result.last_top1) == (3, lines[-1]["test_top1_percent"])
    assert result.best.is_file()
    assert result.last.is_file()


def test_a_run_repeats_and_leaves_torchs_generator_alone(tmp_path: Path, undisturbed: Path) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    toy.run(tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_run(tmp_path / "run", undisturbed)


class Spoiled(nn.Module):
    """A network whose answers are spoiled from one training batch on."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.inner, self.left = toy.network(), batch

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(images)
        self.left -= self.training
        return logits * float("nan") if self.training and self.left < 0 else logits


def assert_kept(folder: Path, epochs: int) -> None:
    """The state can be read and is sound, and the metrics are those of ``epochs``."""
    tensors, facts = RunFolder(folder).read_state()
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert facts["position"]["epoch"] == epochs == len(toy.metrics(folder) if epochs else [])
    assert (folder / "last.safetensors").exists() == bool(epochs)


def test_a_loss_that_becomes_nan_stops_the_run(tmp_path: Path) -> None:
    spoiled = Spoiled(batch=6)
    with pytest.raises(UserError, match=r"the loss became NaN or infinite in epoch 2, batch 3, at lr 0\.005") as caught:
        toy.run(tmp_path / "run", trained=spoiled, save=no_save)
    assert "last.safetensors holds the network after epoch 1. Lower optimizer.lr" in str(caught.value.hint)
    assert_kept(tmp_path / "run", 1)


def test_a_weight_that_becomes_nan_stops_the_run_though_no_loss_shows_it(tmp_path: Path) -> None:
    network = toy.network()
    network.body.get_parameter("conv1.weight").register_hook(lambda grad: grad * float("nan"))
    log = Log()
    with pytest.raises(UserError, match=r"a weight became NaN or infinite in epoch 1, batch 1") as caught:
        toy.run(tmp_path / "run", ["run.save_minutes=1e-9"], trained=network, watcher=log)
    assert network(torch.rand(2, 3, 8, 8)).isfinite().all()
    assert "last.safetensors" not in str(caught.value.hint)
    assert_kept(tmp_path / "run", 0)


def test_a_rate_much_too_high_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training diverged: .* at lr 1e"):
        toy.run(tmp_path / "run", ["optimizer.lr=1e30"])


def test_gradient_clipping_bounds_the_step(tmp_path: Path) -> None:
    plain = ["run.epochs=1", "run.batch_size=100", "optimizer.lr=1.0", "optimizer.weight_decay=0.0", "schedule.kind=constant"]
    start, long, short = toy.network(), toy.network(), toy.network()
    toy.run(tmp_path / "long", plain, trained=long)
    toy.run(tmp_path / "short", [*plain, "optimizer.grad_clip=0.01"], trained=short)
    lengths = [distance(start, network) for network in (long, short)]
    assert lengths[0] > 0.1
    assert lengths[1] == pytest.approx(0.01, rel=1e-3)


def distance(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return float(torch.stack([(a - b).detach().norm() for a, b in pairs]).norm())


def test_weight_decay_can_spare_norms_and_biases(tmp_path: Path) -> None:
    once = ["run.epochs=1", "run.batch_size=100"]
    found = {}
    for decay, spare in ((0.0, True), (0.5, True), (0.5, False)):
        network = toy.network()
        settings = [f"optimizer.weight_decay={decay}", f"optimizer.decay_norm_and_bias={str(not spare).lower()}"]
        toy.run(tmp_path / f"{decay}{spare}", once + settings, trained=network)
        found[decay, spare] = network.tensors()
    for name in ("bn1.weight", "fc.bias"):
        assert torch.equal(found[0.0, True][name], found[0.5, True][name])
        assert not torch.equal(found[0.5, True][name], found[0.5, False][name])
    assert not torch.equal(found[0.0, True]["conv1.weight"], found[0.5, True]["conv1.weight"])


def test_distillation_teaches_and_leaves_the_teacher_alone(tmp_path: Path) -> None:
    teacher = toy.ann()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    network = toy.network()
    toy.run(tmp_path / "run", ["loss.alpha=0.5"], trained=network, teacher=teacher)
    assert toy.same_tensors(before, teacher.state_dict())
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    for line in toy.metrics(tmp_path / "run"):
        assert line["train_kl"] > 0
        assert line["train_loss"] == pytest.approx(line["train_ce"] + 0.5 * 16 * line["train_kl"], rel=1e-6)
    plain = toy.network()
    toy.run(tmp_path / "plain", trained=plain, teacher=teacher)  # alpha 0: the teacher is not asked
    assert not toy.same_tensors(plain.tensors(), network.tensors())
    assert toy.metrics(tmp_path / "plain")[0]["train_kl"] == 0


TAUGHT = ["loss.alpha=0.5", "augment.mixup=0.2", "run.accumulate=2"]


def taught(folder: Path, cache: Path | None, settings: Sequence[str] = TAUGHT, **more: Any) -> int:
    """A run with a teacher; how many batches the teacher was asked."""
    teacher, asked = toy.ann(), list[Tensor]()
    teacher.register_forward_pre_hook(lambda module, given: asked.append(given[0]))
    kept = None if cache is None else TeacherCache(cache, "graph")
    toy.run(folder, settings, teacher=teacher, cache=kept, **more)
    return len(asked)


def found(folder: Path) -> list[float]:
    return [line["teacher_cached_percent"] for line in toy.metrics(folder)]


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``without``: a run without a cache; ``cold``: the same, which filled ``cache``."""
    home = tmp_path_factory.mktemp("remembered")
    parts = 2 * toy.EPOCHS * toy.BATCHES
    assert taught(home / "without", None) == taught(home / "cold", home / "cache") == parts
    return home


def test_logits_from_a_cache_change_no_bit(remembered: Path, tmp_path: Path) -> None:
    assert taught(tmp_path / "warm", remembered / "cache") == 0
    for folder in (remembered / "cold", tmp_path / "warm"):
        assert_same_run(folder, remembered / "without")
    assert (found(remembered / "cold"), found(tmp_path / "warm")) == ([0, 0, 0], [100, 100, 100])
    assert "teacher_cached_percent" not in toy.metrics(remembered / "without")[0]


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (["optimizer.lr=0.01", "loss.alpha=0.9", "loss.temperature=2.0", "network.time_steps=2"], 0),
        (["run.epochs=4"], 8),
        (["run.seed=1"], 24),
        (["run.batch_size=31"], 24),
        (["augment.mixup=0.3"], 24),
        (["run.teacher_precision=bfloat16"], 24),
        (["loss.alpha=0"], 0),
    ],
    ids=["hyperparameters", "longer", "seed", "batch size", "augmentation", "precision", "no teacher"],
)
def test_which_other_runs_find_them(remembered: Path, tmp_path: Path, change: list[str], asked: int) -> None:
    shutil.copytree(remembered / "cache", tmp_path / "cache")
    assert taught(tmp_path / "run", tmp_path / "cache", [*TAUGHT, *change]) == asked


@pytest.mark.parametrize("before", [True, False], ids=["cached from the start", "cached from the stop on"])
@pytest.mark.parametrize("minutes", [1e-9, 10.0])
def test_a_run_with_a_cache_goes_on_bit_for_bit(remembered: Path, tmp_path: Path, minutes: float, before: bool) -> None:
    cache, settings = tmp_path / "cache", [*TAUGHT, f"run.save_minutes={minutes}"]
    with pytest.raises(Killed):
        taught(tmp_path / "run", cache if before else None, settings, watcher=At(2, 2, killed))
    asked = taught(tmp_path / "run", cache, settings, resume=True)
    assert_same_run(tmp_path / "run", remembered / "without")
    assert asked == 2 * (7 if minutes < 1 else 8)  # the rest, from where its state is of
    assert taught(tmp_path / "again", cache) == (0 if before else 2 * (toy.BATCHES + (1 if minutes < 1 else 0)))


def test_a_teacher_is_needed_and_must_know_the_same_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss\.alpha = 0\.3\), but there is no teacher\n.*set loss\.alpha=0"):
        toy.run(tmp_path / "run", ["loss.alpha=0.3"])
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="the teacher tells 7 classes apart, the network 4"):
        toy.run(tmp_path / "run", ["loss.alpha=0.3"], teacher=toy.ann(7))


def test_a_network_of_another_data_set_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    graph = graphs.spiking(classes=7)
    network = SpikingNetwork(graph, fresh_tensors(graph, 0), 2)
    with pytest.raises(UserError, match="7 classes apart, the data has 4"):
        toy.run(tmp_path / "run", trained=network)
    assert not (tmp_path / "run").exists()


def test_a_network_without_time_trains(tmp_path: Path) -> None:
    toy.run(tmp_path / "run", ["run.epochs=6"], trained=toy.ann(), save=no_save)
    lines = toy.metrics(tmp_path / "run")
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    assert (lines[0]["test_top1_percent_per_step"], lines[0]["test_firing_rates"]) == ([], {})


def test_half_precision(tmp_path: Path, undisturbed: Path) -> None:
    network = toy.network()
    toy.run(tmp_path / "run", ["run.precision=bfloat16"], trained=network)
    assert {tensor.dtype for tensor in network.tensors().values()} == {torch.float32}
    half, full = toy.metrics(tmp_path / "run"), toy.metrics(undisturbed)
    assert half[0]["train_loss"] != full[0]["train_loss"]
    assert half[-1]["train_loss"] == pytest.approx(full[-1]["train_loss"], rel=0.1)


def test_half_precision_of_the_teacher_alone(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []
    teacher = toy.ann()
    teacher.register_forward_hook(lambda module, given, logits: seen.append(logits.dtype))
    toy.run(tmp_path / "run", ["run.epochs=1", "loss.alpha=0.5", "run.teacher_precision=bfloat16"], teacher=teacher)
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("wanted", [True, False])
def test_memory_layout(tmp_path: Path, wanted: bool) -> None:
    network = toy.network()
    toy.run(tmp_path / "run", ["run.epochs=1", f"run.channels_last={str(wanted).lower()}"], trained=network)
    weight = network.body.get_parameter("layer1.0.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) == wanted


def test_fewer_images(tmp_path: Path) -> None:
    log = Log()
    toy.run(tmp_path / "run", limit_train=40, watcher=log)
    assert log.batches[-1] == (3, 3, 2, 2)
    assert read(tmp_path / "run" / "last.safetensors").training["train_images"] == 40


def test_a_folder_holds_one_run_and_has_one_writer(tmp_path: Path) -> None:
    log = Log()

    def again() -> None:
        with pytest.raises(UserError, match=r"process \d+ on .* is training in"):
            toy.run(tmp_path / "run", resume=True)
        raise Killed

    with pytest.raises(Killed):
        toy.run(tmp_path / "run", watcher=At(1, 1, again))
    with pytest.raises(UserError, match="already holds a run"):
        toy.run(tmp_path / "run", watcher=log)
    assert not log.batches


def test_recalibrated_statistics_are_what_is_evaluated_and_saved(tmp_path: Path) -> None:
    settings = ["run.epochs=1", "optimizer.lr=0.5"]
    toy.run(tmp_path / "plain", settings)
    toy.run(tmp_path / "again", [*settings, "run.recalibrate_batches=3"])
    plain, again = (read(tmp_path / name / "last.safetensors").tensors for name in ("plain", "again"))
    changed = {name for name in plain if not torch.equal(plain[name], again[name])}
    assert changed
    assert all("running" in name for name in changed)
    lines = [toy.metrics(tmp_path / name)[0] for name in ("plain", "again")]
    assert lines[0]["train_loss"] == lines[1]["train_loss"]
    assert lines[0]["test_loss"] != lines[1]["test_loss"]
