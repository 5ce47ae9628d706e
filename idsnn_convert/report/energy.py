"""Operations and energy as text and as JSON."""

from __future__ import annotations

from typing import Any

from idsnn_convert.measure import Energy
from idsnn_convert.report.text import console, paragraph, safe, table
from idsnn_convert.report.units import joules
from idsnn_convert.runtime.energy import MODELS
from idsnn_convert.runtime.synops import Work


def print_energy(found: Energy) -> None:
    """Every layer, the totals beside the network without spikes, and what each number of steps gives and costs."""
    out, work = console(), found.work
    out.print(_layers(work))
    out.print()
    last = found.point(work.time_steps)
    acs, macs = last["effective_acs"], last["effective_macs"]
    paragraph(f"{acs:,.0f} accumulations and {macs:,.0f} multiply-accumulates an image", f"spiking, T={work.time_steps}: ")
    paragraph(f"{work.dense_macs:,} multiply-accumulates an image", "the same network without spikes: ")
    if stem := [layer for layer in work.layers if layer.once and work.time_steps > 1]:
        saved = sum(layer.total for layer in stem) * (work.time_steps - 1) / work.time_steps
        names = ", ".join(layer.name for layer in stem)
        paragraph(f"{names} computes the same at every step; computed once, {saved:,.0f} of these fall away.")
    out.print()
    out.print(_energies(found))
    out.print()
    out.print(_points(found))
    paragraph(
        f"Means over {work.images:,} images, {found.normalisation} normalisation; top-1 of these images. T is on the Pareto "
        "front if no fewer steps, which cost less, get as many right. Energies are models, not measurements, loihi's and "
        "truenorth's of layers with spikes as inputs alone: --json says what each assumes."
    )


def _layers(work: Work) -> Any:
    made = table("layer", "inputs", "density %", "operations", numbers=("density %", "operations"))
    for layer in work.layers:
        made.add_row(
            safe(layer.name), "spikes" if layer.spiking else "analog", f"{100 * layer.density:.1f}", f"{layer.total:,.0f}"
        )
    return made


def _energies(found: Energy) -> Any:
    made = table(
        "energy an image", "spiking", "without spikes", "ratio", "weights", numbers=("spiking", "without spikes", "ratio")
    )
    spiking, plain = found.point(found.work.time_steps)["joules"], found.ann()
    for name, model in MODELS.items():
        ours, theirs = spiking[name], plain[name]
        ratio = f"{ours / theirs:.2f}" if ours is not None and theirs else "-"
        made.add_row(name, joules(ours), joules(theirs), ratio, "fetched" if model.memory else "free")
    return made


def _points(found: Energy) -> Any:
    numbers, pays = ("T", "top-1 %", "ACs", "MACs", "energy"), found.pareto()
    made = table(*numbers, "Pareto", numbers=numbers)
    for point in found.points():
        counts = (f"{point['effective_acs']:,.0f}", f"{point['effective_macs']:,.0f}")
        energy = joules(point["joules"][next(iter(MODELS))])
        made.add_row(
            str(point["time_steps"]),
            f"{point['top1_percent']:.2f}",
            *counts,
            energy,
            "yes" if point["time_steps"] in pays else "no",
        )
    return made


def described_energy(found: Energy) -> dict[str, Any]:
    """Everything as JSON-native values; operations and spikes are means over the images."""
    work = found.work
    return {
        "images": work.images,
        "normalisation": found.normalisation,
        "layers": [
            {
                "name": layer.name,
                "op": layer.op,
                "inputs": "spikes" if layer.spiking else "analog",
                "operations_per_step": list(layer.operations),
                "dense_operations_of_a_step": layer.dense,
                "density": layer.density,
                "same_at_every_step": layer.once,
            }
            for layer in work.layers
        ],
        "neurons": [
            {"name": n.name, "neurons": n.neurons, "spikes_per_step": list(n.spikes), "rate": n.rate} for n in work.neurons
        ],
        "points": found.points(),
        "pareto_time_steps": found.pareto(),
        "without_spikes": {"dense_macs": work.dense_macs, "joules": found.ann()},
        "models": {
            name: {
                "mac_picojoules": model.mac,
                "ac_picojoules": model.ac,
                "memory_included": model.memory,
                "source": model.source,
                "assumes": model.assumes,
            }
            for name, model in MODELS.items()
        },
    }
