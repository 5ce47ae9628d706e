"""Several processes for tests: a module that each of them runs, and the function that starts them.

Started as ``python -m tests.runtime.together SCENARIO FOLDER``; what a scenario finds it writes into the folder.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.batch_norm import BatchNorm2d, synchronise
from idsnn_convert.runtime.distributed import World, joined
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fused import FusedNeuron
from idsnn_convert.runtime.neurons import Neuron, SpikingNeuron
from idsnn_convert.runtime.stop import Interrupted
from idsnn_convert.runtime.teacher_cache import TeacherCache
from tests.runtime import toy

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ["run.epochs=2", "run.ema_decay=0.9", "run.recalibrate_batches=2", "optimizer.grad_clip=1.0"]


def start(scenario: str, folder: Path, processes: int = 2) -> list[subprocess.CompletedProcess[str]]:
    """Runs ``scenario`` in so many processes, and gives how each ended, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = []
    for rank in range(processes):
        place = {**os.environ, **common, "PYTHONPATH": str(ROOT), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-m", "tests.runtime.together", scenario, str(folder)]
        started.append(
            subprocess.Popen(command, cwd=ROOT, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    ended = []
    for process in started:
        try:
            out, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            for other in started:
                other.kill()
            raise
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended


def at_forward(network: nn.Module, number: int, action: Callable[[], None]) -> nn.Module:
    """``network``, which calls ``action`` before its ``number``-th forward."""
    left = [number]

    def count(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            action()

    network.register_forward_pre_hook(count)
    return network


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def messages(world: World, folder: Path) -> None:
    """What World's methods give, from every process."""
    grown = [torch.full((2, 2), float(world.rank)), torch.ones(3)]
    world.add_up(grown)
    found = {
        "total": world.total(torch.tensor([1.0, world.rank])),
        "largest": torch.tensor(world.largest(world.rank, -world.rank)),
        "gathered": torch.stack(world.gathered(torch.tensor([world.rank]))),
        "added": torch.cat([tensor.flatten() for tensor in grown]),
        "share": world.share(toy.SPLITS["test"]).labels,
    }
    torch.save(found, folder / f"messages{world.rank}.pt")


DRAW = torch.Generator().manual_seed(0)
BATCH = torch.randn(2 * 6, 3, 4, 4, generator=DRAW).mul_(2).add_(1).to(memory_format=torch.channels_last)  # two steps of six
WEIGHTS = torch.randn(2 * 6, 3, 4, 4, generator=DRAW)


class Fused(nn.Module):
    """A batch norm and a neuron in one layer of plain functions."""

    def __init__(self, norm: BatchNorm2d) -> None:
        super().__init__()
        self.norm, self.neuron = norm, SpikingNeuron(Neuron(), 2)
        self.both = FusedNeuron(self.neuron, self.norm, compiled=False)

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.both(x)
        return spikes


def layers() -> dict[str, nn.Module]:
    """A batch norm on its own and one fused with a neuron, both with weights that are not 1."""
    made = [BatchNorm2d(3, 1e-5, 0.1, True) for _ in range(2)]
    for norm in made:
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return {"plain": made[0], "fused": Fused(made[1])}


def learnt(network: nn.Module, world: World) -> dict[str, Tensor]:
    """Results, gradients and statistics of ``network`` on this process's rows of BATCH."""
    synchronise(network, world)
    rows = BATCH[world.rank :: world.size].clone().requires_grad_()
    found = network.train()(rows)
    (found * WEIGHTS[world.rank :: world.size]).sum().backward()
    own = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    world.add_up(own.values())
    assert rows.grad is not None
    return {"found": found.detach(), "rows": rows.grad, **own, **dict(network.named_buffers())}


def norms(world: World, folder: Path) -> None:
    """Results and gradients of this process's rows of one batch, for the plain and the fused layers."""
    for kind, network in layers().items():
        torch.save(learnt(network, world), folder / f"{kind}{world.rank}.pt")


def runs(world: World, folder: Path) -> None:
    """An undisturbed run, the same one stopped on the second process's wish and resumed, and one that cannot be."""
    toy.run(folder / "two", SETTINGS, world=world)
    network = toy.network()
    if world.rank == 1:
        at_forward(network, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        toy.run(folder / "stopped", SETTINGS, trained=network, world=world)
    except Interrupted as stop:
        (folder / f"interrupted{world.rank}").write_text(str(stop.exit_code))
    toy.run(folder / "stopped", SETTINGS, resume=True, world=world)
    try:
        toy.run(folder / "refused", ["run.batch_size=99"], world=world)
    except UserError as error:
        (folder / f"refused{world.rank}").write_text(error.problem)


def remembering(world: World, folder: Path) -> None:
    """A run with a teacher, the same one again from the cache it filled, and what each process asked."""
    for name in ("cold", "warm"):
        teacher, asked = toy.ann(), list[Tensor]()
        teacher.register_forward_pre_hook(lambda module, given, asked=asked: asked.append(given[0]))
        cache = TeacherCache(folder / "cache", "graph")
        toy.run(folder / name, ["run.epochs=2", "loss.alpha=0.5"], teacher=teacher, cache=cache, world=world)
        (folder / f"{name}{world.rank}").write_text(str(len(asked)))


def dying(world: World, folder: Path) -> None:
    """The second process dies in the second epoch."""
    network = toy.network()
    if world.rank == 1:
        at_forward(network, toy.BATCHES + 3, die)  # an epoch's batches, its test, and one more
    try:
        toy.run(folder / "dying", ["run.epochs=2"], trained=network, world=world)
    except UserError as error:
        (folder / "told").write_text(f"{error.problem}\n{error.hint}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as world:
        for name in sys.argv[1].split(","):
            globals()[name](world, Path(sys.argv[2]))
