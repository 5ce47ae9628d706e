"""Recipes: the shipped ones, overrides, the way there and back, and what each mistake is told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.recipe import Recipe, load_recipe, shipped


def test_the_papers_numbers() -> None:
    recipe = load_recipe("idsnn")
    assert (recipe.run.epochs, recipe.run.batch_size) == (200, 64)
    assert (recipe.optimizer.lr, recipe.optimizer.momentum, recipe.optimizer.weight_decay) == (0.05, 0.9, 1e-4)
    assert [round(m * recipe.run.epochs) for m in recipe.schedule.milestones] == [60, 120, 160]
    assert (recipe.schedule.kind, recipe.schedule.gamma) == ("step", 0.1)
    assert (recipe.loss.alpha, recipe.loss.temperature, recipe.loss.normalise) == (0.3, 4.0, False)
    assert recipe.initialisation.source == "checkpoint"


@pytest.mark.parametrize(
    ("name", "alpha", "source", "norm_weight"),
    [
        ("baseline", 0.0, "fresh", "v_threshold"),
        ("init-only", 0.0, "checkpoint", 1.0),
        ("kd-only", 0.5, "fresh", "v_threshold"),
        ("idsnn-fast", 0.3, "checkpoint", 1.0),
        ("modern", 0.2, "checkpoint", 1.0),
        ("teacher", 0.0, "fresh", 1.0),
        ("lasnn", 0.0, "checkpoint", 1.0),
        ("lasnn-gradient", 0.0, "checkpoint", 1.0),
        ("hybrid", 0.0, "checkpoint", 1.0),
        ("label-kd", 0.3, "checkpoint", 1.0),
        ("spike-kd", 0.3, "checkpoint", 1.0),
    ],
)
def test_shipped_recipes(name: str, alpha: float, source: str, norm_weight: float | str) -> None:
    recipe = load_recipe(name)
    assert recipe.description
    assert recipe.loss.alpha == alpha
    assert (recipe.initialisation.source, recipe.initialisation.batch_norm_weight) == (source, norm_weight)


@pytest.mark.parametrize("name", ["baseline", "init-only", "kd-only"])
def test_the_ablations_differ_from_the_method_in_nothing_else(name: str) -> None:
    published, ablation = load_recipe("idsnn"), load_recipe(name)
    for section in ("run", "network", "optimizer", "schedule", "augment"):
        assert getattr(ablation, section) == getattr(published, section)


@pytest.mark.parametrize("name", ["lasnn-gradient", "hybrid", "label-kd", "spike-kd"])
def test_lasnn_and_what_it_is_compared_with_differ_in_the_loss_alone(name: str) -> None:
    lasnn, other = load_recipe("lasnn"), load_recipe(name)
    assert lasnn.loss != other.loss
    for section in ("run", "network", "neuron", "optimizer", "schedule", "augment"):
        assert getattr(other, section) == getattr(lasnn, section)


@pytest.mark.parametrize("name", shipped())
def test_written_and_read_again(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["network.time_steps=6", 'description="a \\"quoted\\" name, ü"'])
    path = tmp_path / "own.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert tomllib.loads(recipe.to_toml())["loss"]["alpha"] == recipe.loss.alpha


def test_what_is_not_set_is_not_written() -> None:
    assert "time_steps" not in Recipe().to_toml()


def test_overrides_are_typed_and_the_last_one_holds() -> None:
    overrides = [
        "loss.alpha=0.5",
        "loss.alpha = 1",
        "schedule.kind=cosine",
        "schedule.milestones=[10, 0.5]",
        "augment.flip=false",
    ]
    recipe = load_recipe("idsnn", overrides)
    assert recipe.loss.alpha == 1.0
    assert recipe.schedule.kind == "cosine"
    assert recipe.schedule.milestones == (10, 0.5)
    assert recipe.augment.flip is False
    assert recipe.optimizer == load_recipe("idsnn").optimizer


@pytest.mark.parametrize(
    ("override", "problem", "hint"),
    [
        ("loss.alhpa=0.5", "unknown setting 'loss.alhpa'", "Did you mean 'loss.alpha'?"),
        ("los.alpha=0.5", "unknown setting 'los'", "Did you mean 'loss'?"),
        ("alpha=0.5", "unknown setting 'alpha'", "Did you mean 'loss.alpha'?"),
        ("loss.alpha=high", "loss.alpha must be a valid number, not 'high'", ""),
        ("loss.alpha=-1", "loss.alpha must be greater than or equal to 0, not -1", ""),
        ("loss.alpha=nan", "loss.alpha must be a finite number", ""),
        ("run.epochs=2.5", "run.epochs must be a valid integer, not 2.5", ""),
        ("run.epochs=true", "run.epochs must be a valid integer, not True", ""),
        ("run.epochs=0", "run.epochs must be greater than or equal to 1, not 0", ""),
        ("schedule.kind=cosin", "schedule.kind must be 'step', 'cosine' or 'constant', not 'cosin'", ""),
        ("schedule.milestones=[0.5, -1]", "schedule.milestones must be greater than 0, not -1", ""),
        ("initialisation.batch_norm_weight=v_th", "initialisation.batch_norm_weight must be a valid number", ""),
        ("run.epochs", "is not of the form section.key=value", "Such as loss.alpha=0.5."),
        ("=3", "is not of the form section.key=value", "Such as loss.alpha=0.5."),
        ("loss.alpha=0.5\nx = 1", "is not of the form section.key=value", "Such as loss.alpha=0.5."),
        ("run.epochs.much=3", "'epochs' holds no settings", "Such as loss.alpha=0.5."),
    ],
)
def test_a_wrong_override_is_told(override: str, problem: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("idsnn", [override])
    assert caught.value.problem.startswith(f"override {override!r}")
    assert problem in caught.value.problem
    assert hint in (caught.value.hint or "")


def test_a_wrong_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[optimizer]\nleraning_rate = 0.1\nlr = 0.1\n")
    with pytest.raises(UserError, match=r"mine\.toml: unknown setting 'optimizer\.leraning_rate'") as caught:
        load_recipe(path)
    assert "optimizer.lr" in str(caught.value.hint)


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[optimizer\n")
    with pytest.raises(UserError, match=r"mine\.toml is no valid TOML: .*line 1"):
        load_recipe(path)


def test_unknown_recipes() -> None:
    with pytest.raises(UserError, match="unknown recipe 'idsn'\nDid you mean 'idsnn'"):
        load_recipe("idsn")
    with pytest.raises(UserError, match=r"absent\.toml: no such file\nShipped recipes: baseline, "):
        load_recipe("absent.toml")
