"""Training: a network, a data set and a recipe in; a run folder with checkpoints and metrics out.

A run repeats bit for bit on the CPU for the same arguments and number of threads, and so does one that was stopped
or killed at any moment and resumed. Several processes (:mod:`idsnn_convert.runtime.distributed`) each take their share of
every batch; what they learn together is what one alone would learn, up to rounding.

Letters: T time steps, B batch, K classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from idsnn_convert.runtime.batch_norm import synchronise
from idsnn_convert.runtime.data.batches import Batch, batch_count, train_batches
from idsnn_convert.runtime.data.types import Dataset, Split
from idsnn_convert.runtime.distributed import ALONE, Lost, World
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation, check_fits, evaluate
from idsnn_convert.runtime.firing import rated
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.normalisation import Normalisation
from idsnn_convert.runtime.objective import Objective
from idsnn_convert.runtime.randomness import own_randomness
from idsnn_convert.runtime.recalibrate import recalibrate
from idsnn_convert.runtime.recipe import Recipe
from idsnn_convert.runtime.run_folder import RunFolder, open_run
from idsnn_convert.runtime.run_state import Position, check_same, identity, restore, snapshot
from idsnn_convert.runtime.schedule import lr_at
from idsnn_convert.runtime.sharing import check_shares, pooled
from idsnn_convert.runtime.stop import Interrupted, StopRequest
from idsnn_convert.runtime.teacher_cache import RememberingTeacher, TeacherCache
from idsnn_convert.runtime.tutors import tutor_of
from idsnn_convert.runtime.updates import Updates, micro_batches

Save = Callable[[nn.Module, Path, dict[str, Any]], None]
"""Writes the network as a checkpoint, all or nothing, with the JSON-native record of its training."""

BATCHES_PER_LOOK = 20
"""How many batches a device other than the CPU is given before its losses are looked at: looking makes it wait."""


class Watcher(Protocol):
    """Told how a run goes."""

    def batch(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None:
        """``batch`` of ``batches`` of ``epoch`` is done, counted from 1; ``loss`` is the mean over the epoch so far."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; ``record`` is its line in metrics.jsonl."""


@dataclass(frozen=True)
class TrainResult:
    """Accuracies in percent of the test split; epochs counted from 1. ``ema``: of the weights' moving average, if kept."""

    epochs: int
    best_top1: float
    best_epoch: int
    last_top1: float
    best: Path
    last: Path
    best_ema_top1: float | None = None
    best_ema: Path | None = None


@dataclass
class _Run:
    """One run's parts; ``at`` is the only one that changes, besides weights and momenta."""

    network: nn.Module
    objective: Objective
    updates: Updates
    recipe: Recipe
    train: Split
    test: Split
    normalisation: Normalisation
    device: torch.device
    folder: RunFolder
    identity: Mapping[str, Any]
    save: Save
    watcher: Watcher | None
    world: World = ALONE
    remembering: RememberingTeacher | None = None
    at: Position = field(default_factory=Position)
    saved: float = field(default_factory=time.monotonic)

    @property
    def batches(self) -> int:
        return batch_count(len(self.train), self.recipe.run.batch_size)

    @property
    def images_at_hand(self) -> int:
        """In the batch at hand, all processes' shares together; the last of an epoch may have fewer than the others."""
        return min(self.recipe.run.batch_size, len(self.train) - self.at.batch * self.recipe.run.batch_size)

    def write_state(self) -> None:
        """What the run needs to be resumed from here."""
        tensors, facts = snapshot(self.network, self.updates, self.at, self.device, self.world)
        if self.world.leads:
            self.folder.write_state(tensors, {"identity": self.identity, **facts})
        if self.remembering is not None:
            self.remembering.publish()
        self.saved = time.monotonic()


def train(
    network: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    run_dir: Path,
    *,
    normalisation: Normalisation,
    save: Save,
    teacher: nn.Module | None = None,
    watcher: Watcher | None = None,
    limit_train: int | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    world: World = ALONE,
    cache: TeacherCache | None = None,
) -> TrainResult:
    """Trains ``network`` in place by ``recipe``, evaluating it on the test split after every epoch.

    Args:
        network: gives logits (T, B, K), or (B, K) for one without time; it starts from the weights it has (see
            :func:`idsnn_convert.runtime.initialise.prepared` for those that the recipe asks for).
        run_dir: see :mod:`idsnn_convert.runtime.run_folder`; made if it is not there.
        normalisation: of the images, for network and teacher alike: both see the same augmented batch.
        save: writes ``last.safetensors`` after each epoch, ``best.safetensors`` after each with the best accuracy yet.
        teacher: gives logits (B, K); frozen, in eval mode. Needed where the recipe asks it, else not used.
        limit_train: train on this many images, drawn by the recipe's seed.
        resume: go on where the run in ``run_dir`` stopped, however it stopped; all else must be as it was,
            but the number of processes: with another one the run goes on with the same batches, not to the same bits.
        world: the processes that train together. Each is given all arguments; one of them writes ``run_dir``, all read it.
        cache: what the teacher answered to earlier runs; it must give logits alone, the same for the same images.

    Raises:
        UserError: if the arguments do not go together, the folder is taken, the loss becomes NaN or infinite, or another
            process is lost; the last good state and checkpoints are kept then.
        Interrupted: on SIGINT, SIGTERM or SIGHUP, after the batch at hand is done and the run can be resumed.
    """
    device = torch.device(device)
    teacher = tutor_of(recipe, teacher, device)
    _set_chunk(network, recipe.run.time_chunk)
    graph = getattr(network, "graph", None)
    if isinstance(graph, Graph):
        check_fits(graph, dataset.train)
        check_fits(graph, dataset.test)
    for module in filter(None, (network, teacher)):
        layout = torch.channels_last if recipe.run.channels_last else torch.preserve_format
        module.to(device, memory_format=layout)  # type: ignore[call-overload]
    images = dataset.train.sample(limit_train, recipe.run.seed)
    check_shares(world, recipe.run.batch_size, len(images), len(dataset.test))
    synchronise(network, world)
    remembering = None if cache is None or teacher is None else cache.of(teacher, recipe.run, device)
    opened = open_run(run_dir, resume) if world.leads else nullcontext(RunFolder(run_dir))
    with opened as folder, StopRequest() as stop, own_randomness(device, recipe.run.seed + world.rank):
        run = _Run(
            network=network,
            objective=Objective(
                network,
                remembering or teacher,
                recipe.loss,
                recipe.run.precision,
                getattr(network, "readout", None),
                recipe.run.teacher_precision,
            ),
            updates=Updates(network, recipe, device),
            recipe=recipe,
            train=images.to(device),
            test=world.share(dataset.test),
            normalisation=normalisation,
            device=device,
            folder=folder,
            identity=identity(recipe, dataset.name, images, len(dataset.test), normalisation, teacher),
            save=save,
            watcher=watcher if world.leads else None,
            world=world,
            remembering=remembering,
        )
        _begin(run, resume)
        _epochs(run, stop)
    at = run.at
    ema = () if run.updates.average is None else (at.best_ema_top1, folder.best_ema)
    return TrainResult(at.epoch, at.best_top1, at.best_epoch, at.last_top1, folder.best, folder.last, *ema)


def _set_chunk(network: nn.Module, chunk: int) -> None:
    """How many time steps the network runs at a time; 0 for all."""
    if isinstance(network, SpikingNetwork):
        network.time_chunk = chunk or None
    elif chunk:
        raise UserError(f"run.time_chunk = {chunk} needs a spiking network", hint="Set run.time_chunk=0.")


def _begin(run: _Run, resume: bool) -> None:
    """Writes a new run's first state, or brings a stopped run back to where it was."""
    folder, world = run.folder, run.world
    world.wait()  # for the one that opens the folder
    if not resume:
        if world.leads:
            folder.write_recipe(run.recipe)
        run.write_state()
        return
    tensors, facts = folder.read_state()
    check_same(folder.path, facts, run.identity)
    run.at = restore(folder.path, tensors, facts, run.network, run.updates, run.device, world.rank)
    if world.leads:
        folder.settle(run.at.files)
        folder.check(run.at.files)
        run.at.forget_best(folder.best.exists(), folder.best_ema.exists())
    world.wait()  # so that none is still reading when the state is written next


def _epochs(run: _Run, stop: StopRequest) -> None:
    try:
        while run.at.epoch < run.recipe.run.epochs:
            _train_epoch(run, stop)
            _finish_epoch(run, stop)
    except Interrupted:
        run.write_state()
        raise
    except Lost as error:
        hint = f"The same command with --resume goes on from {run.folder.state}, written {_ago(run.saved)} ago."
        raise UserError(f"{error.problem}, after batch {run.at.batch} of epoch {run.at.epoch + 1}", hint=hint) from error


def _train_epoch(run: _Run, stop: StopRequest) -> None:
    """The batches of this epoch that are not done yet: loss, gradients, step."""
    recipe, at, world = run.recipe, run.at, run.world
    every = 1 if run.device.type == "cpu" else BATCHES_PER_LOOK
    sums = torch.zeros(len(at.sums), dtype=torch.float64, device=run.device)
    run.network.train()
    if run.remembering is not None:
        run.remembering.begin_epoch()
    began = time.perf_counter()
    for images, labels in _batches(run, at.batch):
        step, count = at.epoch * run.batches + at.batch, run.images_at_hand
        at.lr = lr_at(recipe.schedule, recipe.optimizer.lr, step, run.batches, recipe.run.epochs)
        for some, theirs in micro_batches(images, labels, min(recipe.run.accumulate, count // world.size)):
            terms = run.objective(some, theirs)
            run.updates.backward(terms.total * (len(theirs) / count))
            sums += len(theirs) * torch.cat((terms.row(), torch.ones(1, device=run.device)))
        run.updates.step(at.lr, step, world)
        at.batch += 1
        if at.batch % every == 0 or at.batch == run.batches:
            at.sums = [before + new for before, new in zip(at.sums, world.total(sums).tolist(), strict=True)]
            at.train_seconds += time.perf_counter() - began
            _look(run, stop)
            began = time.perf_counter()
            sums.zero_()


def _batches(run: _Run, skip: int) -> Iterator[Batch]:
    """The batches of the epoch at hand, but for the first ``skip``."""
    recipe, at = run.recipe, run.at
    return train_batches(
        run.train,
        recipe.run.batch_size,
        seed=recipe.run.seed,
        epoch=at.epoch,
        normalisation=run.normalisation,
        augment=recipe.augment,
        device=run.device,
        skip=skip,
        rank=run.world.rank,
        ranks=run.world.size,
    )


def _look(run: _Run, stop: StopRequest) -> None:
    """Between batches: is all well, who wants to know, shall we stop, is it time to write the state."""
    at = run.at
    _demand_finite(run, "the loss", *at.sums)
    # A current that is NaN fires no spike, so no loss shows it.
    _demand_finite(run, "a weight", nn.utils.get_total_norm(run.network.state_dict().values()).item())
    if run.watcher is not None:
        run.watcher.batch(at.epoch + 1, run.recipe.run.epochs, at.batch, run.batches, at.sums[0] / at.sums[-1])
    due = run.world.leads and time.monotonic() - run.saved > 60 * run.recipe.run.save_minutes
    signum, save = run.world.largest(stop.signum, due)  # all stop and all save, or none
    if signum:
        raise Interrupted(int(signum))
    if save:
        run.write_state()


def _finish_epoch(run: _Run, stop: StopRequest) -> None:
    """Evaluates, then writes checkpoints, metrics and state; a kill at any moment leaves those of one epoch."""
    at, average = run.at, run.updates.average
    with stop.at_once() if run.world.size == 1 else nullcontext():
        tested, rates = _tested(run, run.network)
        averaged = None if average is None else _tested(run, average.network)[0]
    record = _record(run, tested, averaged) | {"test_firing_rates": rates}
    if run.remembering is not None:
        record["teacher_cached_percent"] = run.remembering.found_percent(run.world)
    at.finish_epoch(tested.top1, None if averaged is None else averaged.top1)
    if run.world.leads:
        with run.folder.staged() as staged:
            _write_epoch(run, staged, record)
            run.folder.stage_metrics(record)
            at.files |= staged.hashes()
    run.write_state()
    if run.world.leads:
        run.folder.settle(at.files)
    if run.watcher is not None:
        run.watcher.epoch(record)


def _tested(run: _Run, network: nn.Module) -> tuple[Evaluation, dict[str, float]]:
    """How good ``network`` is after this epoch, its batch norm statistics measured anew before if the recipe says so, and
    how often each of its neuron layers fired meanwhile."""
    seed = run.recipe.run.seed + run.world.rank
    with own_randomness(run.device, seed):  # the run's own chance is not touched
        again = islice(_batches(run, skip=0), run.recipe.run.recalibrate_batches)
        recalibrate(network, (images for images, _ in again))
        with rated(network) as rates:
            tested = pooled(evaluate(network, run.test, run.normalisation, seed=seed), run.world)
    _demand_finite(run, "the loss on the test split", tested.loss)
    return tested, rates.found(run.world)


def _write_epoch(run: _Run, folder: RunFolder, record: Mapping[str, Any]) -> None:
    """The checkpoints of an epoch that is done."""
    at, average = run.at, run.updates.average
    training = {**run.identity, "metrics": record}
    run.save(run.network, folder.last, training)
    if at.best_epoch == at.epoch:
        run.save(run.network, folder.best, training)
    if average is not None:
        run.save(average.network, folder.last_ema, training)
        if at.best_ema_epoch == at.epoch:
            run.save(average.network, folder.best_ema, training)


def _record(run: _Run, tested: Evaluation, averaged: Evaluation | None) -> dict[str, Any]:
    """An epoch's line in metrics.jsonl. Losses in nats; ``lr`` is the last; accuracies of each number of steps if spiking."""
    loss, ce, kl, ensemble, tap, hits, images = run.at.sums
    record = {
        "epoch": run.at.epoch + 1,
        "lr": run.at.lr,
        "train_loss": loss / images,
        "train_ce": ce / images,
        "train_kl": kl / images,
        "train_ensemble": ensemble / images,
        "train_tap": tap / images,
        "train_top1_percent": 100 * hits / images,
        "train_seconds": run.at.train_seconds,
        "train_images_per_second": images / run.at.train_seconds,
        "processes": run.world.size,
        "test_loss": tested.loss,
        "test_top1_percent": tested.top1,
        "test_top1_percent_per_step": list(tested.top1_per_step),
        "test_seconds": tested.seconds,
    }
    if averaged is not None:
        record |= {"ema_test_loss": averaged.loss, "ema_test_top1_percent": averaged.top1}
    return record


def _ago(moment: float) -> str:
    return f"{(time.monotonic() - moment) / 60:.0f} minutes"


def _demand_finite(run: _Run, what: str, *values: float) -> None:
    """Raises UserError if one of ``values`` is NaN or infinite."""
    if all(map(math.isfinite, values)):
        return
    at = run.at
    kept = f"{run.folder.last} holds the network after epoch {at.epoch}. " if at.epoch else ""
    raise UserError(
        f"training diverged: {what} became NaN or infinite in epoch {at.epoch + 1}, batch {at.batch}, at lr {at.lr:g}",
        hint=f"{kept}Lower optimizer.lr, lengthen schedule.warmup_epochs, or set optimizer.grad_clip.",
    )
