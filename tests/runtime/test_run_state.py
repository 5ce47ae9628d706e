"""A run that was stopped, killed or interrupted at any moment goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from idsnn_convert.runtime import described, sealed_file, trainer
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.run_folder import RunFolder
from idsnn_convert.runtime.stop import Interrupted
from tests import graphs
from tests.runtime import toy
from tests.runtime.toy import TIMES, At, Killed, Log, assert_same_run, killed, metrics

ROOT = Path(__file__).resolve().parents[2]


EVERYTHING = ["optimizer.name=adam", "optimizer.lr=0.01", "run.accumulate=2", "run.ema_decay=0.9", "run.time_chunk=2"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default run, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    toy.run(folder)
    return folder


@pytest.mark.parametrize(("epoch", "batch"), [(1, 2), (2, 1), (2, 4), (2, None)])
@pytest.mark.parametrize("minutes", [1e-9, 10.0])
def test_a_run_that_broke_off_goes_on_bit_for_bit(
    tmp_path: Path, undisturbed: Path, epoch: int, batch: int, minutes: float
) -> None:
    settings = [f"run.save_minutes={minutes}"]
    with pytest.raises(Killed):
        toy.run(tmp_path / "run", settings, watcher=At(epoch, batch, killed))
    # a network as fresh as before, and another save interval: neither matters
    toy.run(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", undisturbed)


def test_chance_goes_on_too(tmp_path: Path) -> None:
    toy.run(tmp_path / "one", trained=toy.network("poisson"))
    with pytest.raises(Killed):
        toy.run(tmp_path / "two", ["run.save_minutes=1e-9"], trained=toy.network("poisson"), watcher=At(2, 3, killed))
    toy.run(tmp_path / "two", trained=toy.network("poisson"), resume=True)
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_what_neurons_learn_goes_on_too(tmp_path: Path) -> None:
    graph = graphs.spiking(classes=toy.CLASSES, neuron=Neuron(learn_decay=True, learn_threshold=True))

    def learning() -> SpikingNetwork:
        return SpikingNetwork(graph, fresh_tensors(graph, seed=0), toy.STEPS)

    given: dict[str, Any] = {"overrides": ["run.save_minutes=1e-9"], "save": lambda *saved: None}
    whole, broken = learning(), learning()
    toy.run(tmp_path / "one", trained=whole, **given)
    with pytest.raises(Killed):
        toy.run(tmp_path / "two", trained=learning(), watcher=At(2, 3, killed), **given)
    toy.run(tmp_path / "two", trained=broken, resume=True, **given)
    assert toy.same_tensors(whole.tensors(), broken.tensors())
    assert whole.body.get_parameter("act1.decay_logit") != learning().body.get_parameter("act1.decay_logit")


@pytest.mark.parametrize("after", ["last.safetensors", "best.safetensors"])
def test_a_run_that_broke_off_between_two_files(tmp_path: Path, undisturbed: Path, after: str) -> None:
    def save(network: nn.Module, path: Path, training: dict[str, Any]) -> None:
        toy.save(network, path, training)
        if path.name == after:
            raise Killed

    with pytest.raises(Killed):
        toy.run(tmp_path / "run", save=save)
    toy.run(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("settled", [False, True])
def test_a_run_that_broke_off_beside_its_state(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    """Right after the state was written: its files are not in their places yet, or all of them are."""
    settle = RunFolder.settle

    def broken_off(folder: RunFolder, files: dict[str, str]) -> None:
        if settled:
            settle(folder, files)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "settle", broken_off)
        with pytest.raises(Killed):
            toy.run(tmp_path / "run")
    toy.run(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", undisturbed)
    assert not (tmp_path / "run" / ".next").exists()


def test_a_damaged_checkpoint_stops_a_run_that_goes_on_without_it(tmp_path: Path, undisturbed: Path) -> None:
    with pytest.raises(Killed):
        toy.run(tmp_path / "run", watcher=At(2, 1, killed))
    best = tmp_path / "run" / "best.safetensors"
    whole = best.read_bytes()
    best.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"best\.safetensors is not the file that the run wrote"):
        toy.run(tmp_path / "run", resume=True)
    best.unlink()
    result = toy.run(tmp_path / "run", resume=True)
    assert result.best_epoch > 1
    assert best.exists()
    assert metrics(tmp_path / "run", *TIMES) == metrics(undisturbed, *TIMES)


def test_killed_by_the_system(tmp_path: Path) -> None:
    """With all that a run may remember: momenta, steps and an average of the weights."""
    program = (
        "import os, signal, sys, torch; from pathlib import Path; from tests.runtime import toy\n"
        "torch.set_num_threads(int(sys.argv[2]))\n"
        "watcher = toy.At(2, 3, lambda: os.kill(os.getpid(), signal.SIGKILL))\n"
        "toy.run(Path(sys.argv[1]), [*sys.argv[3:], 'run.save_minutes=1e-9'], watcher=watcher)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run"), str(torch.get_num_threads()), *EVERYTHING]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    toy.run(tmp_path / "run", EVERYTHING, resume=True)
    toy.run(tmp_path / "undisturbed", EVERYTHING)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
    states = [RunFolder(tmp_path / name).read_state()[0] for name in ("run", "undisturbed")]
    assert toy.same_tensors(*states)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_where_it_can_go_on(tmp_path: Path, undisturbed: Path, signum: int, code: int) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    log = Log()
    log.batch = At(2, 2, lambda: os.kill(os.getpid(), signum)).batch  # type: ignore[method-assign]
    with pytest.raises(Interrupted) as caught:
        toy.run(tmp_path / "run", watcher=log)
    assert caught.value.exit_code == code
    assert len(log.records) == 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    after = Log()
    toy.run(tmp_path / "run", resume=True, watcher=after)
    assert after.batches[0] == (2, 3, 3, 4)
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_signal_during_evaluation_does_not_wait_for_its_end(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = []

    def evaluate(*args: Any, **more: Any) -> Any:
        torch.rand(7)
        os.kill(os.getpid(), signal.SIGTERM)
        finished.append(True)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "evaluate", evaluate)
        with pytest.raises(Interrupted):
            toy.run(tmp_path / "run")
    assert not finished
    log = Log()
    toy.run(tmp_path / "run", resume=True, watcher=log)
    assert log.batches[0] == (2, 3, 1, 4)
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("write", [2, 3, 4, 5])
def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """Checkpoint, best checkpoint, state, and the next epoch's: half of the file is written, then there is no room."""
    writes = []

    def save_file(tensors: Any, path: Path, metadata: Any) -> None:
        writes.append(path)
        if len(writes) == write:
            Path(path).write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        safetensors.torch.save_file(tensors, path, metadata)

    with monkeypatch.context() as patched:
        for module in (described, sealed_file):
            patched.setattr(module, "save_file", save_file)
        with pytest.raises(UserError, match=r"cannot write .*\.safetensors: .*No space left on device"):
            toy.run(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.part"))
    toy.run(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", undisturbed)
    assert not list((tmp_path / "run").rglob("*.part"))


def test_a_finished_run_resumed_is_left_as_it_is(tmp_path: Path) -> None:
    first = toy.run(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert toy.run(tmp_path / "run", resume=True) == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_is_resumed_as_it_began_or_not_at_all(tmp_path: Path) -> None:
    toy.run(tmp_path / "run", ["run.epochs=1"])
    other = graphs.residual(("neuron", Neuron().attrs()), classes=4, widths=(4, 12))
    for change, told in (
        ({"overrides": ["run.epochs=2"]}, r"the run began with run\.epochs = 1, not 2"),
        ({"overrides": ["run.epochs=1"], "limit_train": 40}, r"began with train_images = 100, not 40"),
        (
            {"overrides": ["run.epochs=1"], "normalisation": KNOWN["none"]},
            r"began with normalisation\.name = 'half', not 'none'",
        ),
        (
            {"overrides": ["run.epochs=1"], "trained": SpikingNetwork(other, fresh_tensors(other, 0), 3)},
            r"another network: 'body",
        ),
    ):
        with pytest.raises(UserError, match=told):
            toy.run(tmp_path / "run", **change, resume=True)  # type: ignore[arg-type]
