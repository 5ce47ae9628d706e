"""What a student's answers cost: its synaptic operations on real images, and energy by named models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from idsnn_convert import runtime
from idsnn_convert.devices import device_named
from idsnn_convert.normalised import decide_normalisation
from idsnn_convert.printed import Printed
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import Dataset, open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.energy import MODELS
from idsnn_convert.runtime.evaluate import Progress, check_fits
from idsnn_convert.runtime.synops import Work, count

BATCH = 50


@dataclass(frozen=True, repr=False)
class Energy(Printed):
    """What :func:`measure_energy` found.

    Attributes:
        normalisation: of the images.
    """

    work: Work
    normalisation: str

    def point(self, steps: int) -> dict[str, Any]:
        """Accuracy, operations and energy by every model if the network stops after ``steps`` steps."""
        macs, acs = self.work.macs(steps), self.work.acs(steps)
        energies = {name: model.joules(macs, acs) for name, model in MODELS.items()}
        return {
            "time_steps": steps,
            "top1_percent": self.work.top1_per_step[steps - 1],
            "effective_macs": macs,
            "effective_acs": acs,
            "joules": energies,
        }

    def points(self) -> list[dict[str, Any]]:
        """:meth:`point` for 1 to T."""
        return [self.point(steps) for steps in range(1, self.work.time_steps + 1)]

    def pareto(self) -> list[int]:
        """The numbers of steps that pay: with fewer steps, which cost no more by any model, fewer images are right."""
        top1 = self.work.top1_per_step
        return [step for step, found in enumerate(top1, 1) if found > max(top1[: step - 1], default=-1.0)]

    def ann(self) -> dict[str, float | None]:
        """Energy by every model of the same network without spikes, nothing zero: one pass of MACs."""
        return {name: model.joules(self.work.dense_macs, 0) for name, model in MODELS.items()}

    def brief(self) -> str:
        work = self.work
        return f"{work.acs():,.0f} accumulations and {work.macs():,.0f} multiply-accumulates an image, T = {work.time_steps}"

    def show(self) -> None:
        from idsnn_convert.report.energy import print_energy

        print_energy(self)

    def _repr_html_(self) -> str:
        from idsnn_convert.report.notebook import energy_html

        return energy_html(self)


def measure_energy(
    student: str | Path,
    data: str | Dataset,
    *,
    time_steps: int | None = None,
    limit: int | None = None,
    normalisation: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Energy:
    """Counts the synaptic operations of the spiking checkpoint ``student`` on test images.

    Args:
        time_steps: T; the checkpoint's own by default.
        limit: only the first so many test images.
        device: ``auto`` is a GPU if there is one.
        told: receives what was decided, a line each, before the work begins.

    Raises:
        UserError: if file and data do not go together.
    """
    checkpoint, dataset = read(Path(student)), open_dataset(data)
    split = dataset.test.first(limit)
    check_fits(checkpoint.graph, split)
    chosen = decide_normalisation(checkpoint, dataset, normalisation)
    for line in chosen.lines():
        told(line)
    where = device_named(device)
    network = runtime.network(checkpoint, time_steps=time_steps, device=where)
    batches: Iterator[tuple[Tensor, Tensor]] = test_batches(split, BATCH, normalisation=chosen.normalisation, device=where)
    work = count(network, batches, lambda done: progress(done, len(split)) if progress is not None else None)
    return Energy(work, chosen.normalisation.name)
