"""What a run's best network costs, and what it takes for what."""

from __future__ import annotations

from collections.abc import Sequence

from idsnn_convert.report.chart import Level, Line, chart
from idsnn_convert.report.heat import SHADES, heat
from idsnn_convert.report.markup import Markup, tag
from idsnn_convert.report.page import scrolled, section, tabled
from idsnn_convert.report.png import as_base64, png, source
from idsnn_convert.report.probed import Energy, Probed
from idsnn_convert.report.units import MICRO, joules
from idsnn_convert.runtime.energy import MODELS

MOST_CLASSES = 20
"""Up to so many classes the matrix has numbers; of more it is a picture, with the worst classes and mistakes beside it."""
WORST = 10
INK = bytes((47, 111, 196))
"""The picture's colour, between those of the light and the dark page."""


def energy_section(probed: Probed) -> list[Markup]:
    """Energy by every model, what each number of steps gives and costs, and every layer; nothing without neurons."""
    energy = probed.energy
    if energy is None or not energy.points:
        return []
    told = (
        f"Means over {energy.images:,} test images. An operation is a non-zero input meeting a non-zero weight. Energies are "
        "models, not measurements; a dash: layers with analog inputs have no place in that model."
    )
    layers = [
        (layer.name, "spikes" if layer.spiking else "analog", f"{100 * layer.density:.1f}", f"{layer.operations:,.0f}")
        for layer in energy.layers
    ]
    titles = ("layer", "inputs", "density %", "operations")
    return [
        section(
            "Energy",
            tag("p", told, class_="muted"),
            tag("div", _costs(energy), scrolled("Cost by time steps", _points(energy)), class_="charts"),
            scrolled("Energy by model", _models(energy)),
            tag("details", tag("summary", f"All {len(layers)} layers"), scrolled("Layers", tabled(titles, layers, numbers=3))),
        )
    ]


def first_model(energy: Energy) -> str:
    """The model that stands for all where there is room for one: the first that tells energies of both networks."""
    return next((name for name, value in energy.dense_joules.items() if value), next(iter(energy.dense_joules), ""))


def energy_of(energy: Energy) -> tuple[float | None, float | None]:
    """Joules an image by that model: of the spiking network over all steps, and of the same without spikes."""
    name = first_model(energy)
    return energy.points[-1].joules.get(name) if energy.points else None, energy.dense_joules.get(name)


def _costs(energy: Energy) -> Markup:
    name = first_model(energy)
    points = [(point.time_steps, 1e6 * (point.joules.get(name) or 0.0)) for point in energy.points]
    plain = energy.dense_joules.get(name)
    levels = [] if plain is None else [Level("without spikes", 1e6 * plain)]
    return chart(f"Energy of an image by {name}, {MICRO}J", [Line("spiking", points)], "time steps", levels)


def _models(energy: Energy) -> Markup:
    rows = []
    for name, ours in energy.points[-1].joules.items():
        theirs = energy.dense_joules.get(name)
        ratio = f"{ours / theirs:.2f}" if ours is not None and theirs else "-"
        source_of = MODELS[name].source if name in MODELS else ""
        rows.append((name, joules(ours, MICRO), joules(theirs, MICRO), ratio, source_of))
    titles = ("model", f"spiking, T={energy.points[-1].time_steps}", "without spikes", "ratio", "source")
    return tabled(titles, rows, numbers=3)


def _points(energy: Energy) -> Markup:
    name = first_model(energy)
    rows = [
        (
            str(point.time_steps),
            f"{point.top1_percent:.2f}",
            f"{point.effective_acs:,.0f}",
            f"{point.effective_macs:,.0f}",
            joules(point.joules.get(name), MICRO),
        )
        for point in energy.points
    ]
    plain = ("without spikes", "-", "-", f"{energy.dense_macs:,}", joules(energy.dense_joules.get(name), MICRO))
    titles = ("time steps", "top-1 %", "accumulations", "multiplications", name)
    return tabled(titles, [*rows, plain], numbers=4)


def confusion_section(probed: Probed) -> list[Markup]:
    """Who is taken for whom: rows are labels, columns answers."""
    counts = probed.confusion
    if not counts:
        return []
    told = f"{probed.images:,} test images; a row is a class, a column what its images were taken for."
    names = [probed.class_name(k) for k in range(len(counts))]
    if len(counts) <= MOST_CLASSES:
        table = heat("class", names, [(name, list(row)) for name, row in zip(names, counts, strict=True)], lambda n: f"{n:g}")
        matrix = scrolled("Confusion matrix", table)
    else:
        matrix = _picture(counts)
    beside = (matrix, scrolled("The most frequent mistakes", _mistakes(counts, names)))
    return [section("Mistakes", tag("p", told, class_="muted"), tag("div", beside, class_="beside"))]


def _picture(counts: Sequence[Sequence[int]]) -> Markup:
    """One pixel a cell, as opaque as its share of its row, in steps that the eye can tell."""
    rows = []
    for row in counts:
        whole = sum(row) or 1
        shades = (-(-SHADES * count // whole) * 255 // SHADES for count in row)
        rows.append(b"".join(INK + bytes([min(shade, 255)]) for shade in shades))
    alt = f"Confusion matrix of {len(counts)} classes: the diagonal is what was right"
    image = tag("img", src=source(as_base64(png(rows, 4))), alt=alt, class_="pixels matrix")
    return tag("figure", tag("figcaption", "Shares of each class's images"), image, class_="card")


def _mistakes(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Markup:
    wrong = [(count, k, j) for k, row in enumerate(counts) for j, count in enumerate(row) if j != k and count]
    rows = [
        (names[k], names[j], str(count), str(sum(counts[k])))
        for count, k, j in sorted(wrong, key=lambda found: (-found[0], found[1], found[2]))[:WORST]
    ]
    return tabled(("class", "taken for", "images", "of"), rows)
