"""How a run's network fires: one image neuron by neuron, and every layer over the epochs."""

from __future__ import annotations

from collections.abc import Sequence

from idsnn_convert.report.chart import Line, chart, look
from idsnn_convert.report.heat import heat
from idsnn_convert.report.markup import Markup, tag
from idsnn_convert.report.page import scrolled, section
from idsnn_convert.report.png import source
from idsnn_convert.report.probed import Image, Probed, Trace
from idsnn_convert.report.runs import Epoch

TRACED = 3
"""How many neurons of a layer have their potential drawn: those that came highest, of all that were drawn."""
ROW, TRACE = 4, 96
"""Height of a neuron's row in a raster, and of the traces below it, in pixels."""
COLUMNS = 20
"""Up to so many epochs are shown of a layer's firing rates."""


def spikes_section(probed: Probed) -> list[Markup]:
    """The chosen image with the answers over time, then a panel a layer; nothing for a network without neurons."""
    image = probed.image
    if image is None:
        return []
    label = probed.class_name(image.label)
    told = f"Test image {image.index} of {probed.data}, {label}, as {probed.checkpoint} of epoch {probed.epoch} sees it."
    how = (
        f"Above, the spikes of neurons drawn from the layer by seed {probed.seed}, one a row, from the first time step to the "
        f"last. Below, the potentials before reset of the {TRACED} of them that came highest; the dashed line is the "
        "threshold. The percentage is that of all the layer's neurons and steps for this image."
    )
    return [
        section(
            "Spikes of one image",
            tag("p", told),
            tag("div", _seen(image, label), _answers(image), class_="seen"),
            tag("p", how, class_="muted"),
            tag("div", [_panel(trace) for trace in image.layers], class_="panels"),
        )
    ]


def _seen(image: Image, label: str) -> Markup:
    picture = tag("img", src=source(image.png), alt=f"Test image {image.index}: {label}", class_="pixels")
    answer = image.answers[0]
    right = "right" if answer.label == image.label else "wrong"
    share = f"{100 * answer.per_step[-1]:.1f} %"
    return tag("figure", picture, tag("figcaption", f"Answer: {answer.name}, {share}, {right}"), class_="card")


def _answers(image: Image) -> Markup:
    lines = [
        Line(answer.name, [(t, 100 * share) for t, share in enumerate(answer.per_step, 1)])
        for answer in image.answers
        if answer.per_step
    ]
    return chart("Probability after so many time steps, %", lines, "time steps", keys=True)


def _panel(trace: Trace) -> Markup:
    steps = len(trace.spikes[0]) if trace.spikes else 0
    chosen = _highest(trace)
    fired, rate = sum(map(any, trace.spikes)), f"{100 * trace.rate:.1f} %"
    told = f"{trace.name}: spikes of {len(trace.neurons)} neurons over {steps} steps, {fired} of them fired"
    ends = [tag("text", "1", x=0, y=11), tag("text", str(steps), x="100%", y=11, text_anchor="end") if steps > 1 else None]
    return tag(
        "figure",
        tag("figcaption", tag("span", trace.name, class_="name", title=trace.name), tag("span", rate, class_="muted")),
        tag("svg", _raster(trace, steps, chosen), width="100%", height=ROW * len(trace.neurons), role="img", aria_label=told,
            viewBox=f"0 0 {max(steps, 1)} {len(trace.neurons)}", preserveAspectRatio="none", class_="raster"),
        _traces(trace, steps, chosen),
        tag("svg", ends, width="100%", height=14, aria_hidden="true"),
        class_="card panel",
    )  # fmt: skip


def _highest(trace: Trace) -> list[int]:
    """Rows of the neurons whose potential came highest, highest first."""
    order = sorted(range(len(trace.potentials)), key=lambda row: -max(trace.potentials[row], default=0.0))
    return order[:TRACED]


def _raster(trace: Trace, steps: int, chosen: Sequence[int]) -> list[Markup]:
    """One path for the plain neurons' spikes, one for those of each neuron that is traced below."""
    marks: dict[str, list[str]] = {}
    for row, spikes in enumerate(trace.spikes):
        key = look(chosen.index(row)).replace("line", "fired") if row in chosen else "fired"
        marks.setdefault(key, []).extend(f"M{t + 0.08:g} {row + 0.1:g}h.84v.8h-.84z" for t, spike in enumerate(spikes) if spike)
    return [tag("path", d="".join(paths), class_=key) for key, paths in marks.items() if paths]


def _traces(trace: Trace, steps: int, chosen: Sequence[int]) -> Markup:
    values = [u for row in chosen for u in trace.potentials[row]]
    low, high = min(0.0, *values, 0.0), max(trace.v_threshold, *values, 0.0)
    span = (high - low) or 1.0

    def across(t: int) -> float:
        return 100 * (t + 0.5) / steps

    def down(u: float) -> float:
        return 6 + (TRACE - 12) * (high - u) / span

    level = f"{down(trace.v_threshold):.1f}"
    parts = [tag("line", x1=0, x2="100%", y1=level, y2=level, class_="level")]
    for index, row in enumerate(chosen):
        points = [(across(t), down(u)) for t, u in enumerate(trace.potentials[row])]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        drawn = tag("path", d=path, class_=look(index), vector_effect="non-scaling-stroke")
        plot = tag("svg", drawn, width="100%", height=TRACE, viewBox=f"0 0 100 {TRACE}", preserveAspectRatio="none")
        dots = [
            tag("circle", tag("title", f"neuron {trace.neurons[row]}, step {t}: {u:g}"), cx=f"{x:.1f}%", cy=f"{y:.1f}", r=2.5)
            for t, (u, (x, y)) in enumerate(zip(trace.potentials[row], points, strict=True), 1)
        ]
        parts.append(tag("g", plot, dots, class_=look(index)))
    told = f"Potentials of {len(chosen)} neurons of {trace.name}, from {low:.3g} to {high:.3g}; threshold {trace.v_threshold:g}"
    return tag("svg", parts, width="100%", height=TRACE, role="img", aria_label=told, class_="traces")


def firing_section(epochs: Sequence[Epoch]) -> list[Markup]:
    """A row a layer, a column an epoch; nothing where the run has no neurons."""
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.test_firing_rates))
    if not names:
        return []
    every = -(-len(epochs) // COLUMNS)
    shown = [*epochs[::every]] if (len(epochs) - 1) % every == 0 else [*epochs[::every], epochs[-1]]
    rows = [(name, [_percent(epoch.test_firing_rates.get(name)) for epoch in shown]) for name in names]
    table = heat("layer / epoch", [str(epoch.epoch) for epoch in shown], rows, lambda value: f"{value:.1f}")
    told = "Spikes of a layer on the test images, in percent of its neurons and steps, after each epoch"
    mean = [(epoch.epoch, rate) for epoch in epochs if (rate := mean_rate(epoch)) is not None]
    drawn = chart("Mean of all layers, %", [Line("mean", mean)], "epoch")
    return [
        section(
            "Firing rates",
            tag("p", told + ("." if every == 1 else f"; every {every} epochs."), class_="muted"),
            tag("div", scrolled("Firing rates", table), drawn, class_="beside"),
        )
    ]


def mean_rate(epoch: Epoch) -> float | None:
    """Mean of the layers' firing rates in percent; None without neurons."""
    rates = epoch.test_firing_rates
    return 100 * sum(rates.values()) / len(rates) if rates else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
