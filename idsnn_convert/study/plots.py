"""A study's curves over epochs, after Fig. 5 of the paper: PNG and SVG.

matplotlib is an optional package (extra ``plot``), imported only here and only when a picture is drawn. Arms differ in
colour (Okabe & Ito 2008, told apart by colour-blind readers), line and marker, so that they can be read in grey too.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idsnn_convert.runtime.files import replacing
from idsnn_convert.study.plan import ARMS, LONGEST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Look = tuple[str, Any, str]
"""Colour, line and marker."""

LOOKS: dict[str, Look] = {
    "neither": ("#000000", ":", "o"),
    "init": ("#0072B2", "--", "s"),
    "kd": ("#E69F00", "-.", "^"),
    "both": ("#009E73", "-", "D"),
}
"""Arm -> colour, line and marker; from dark to light in grey: neither, init, both, kd."""

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "idsnn",  # the same figures give the same bytes
}
MARKERS = 12
"""At most about so many markers a curve."""


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(result: Mapping[str, Any], out: Path) -> list[Path]:
    """Writes ``STUDY.svg`` and ``STUDY.png`` into the folder ``out``, and gives their paths.

    Args:
        result: what :func:`idsnn_convert.study.run.run_study` gives.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        _ablation(figure, result) if result["study"] == "ablation" else _convergence(figure, result)
        title = f"{result['teacher']['arch']} to spiking {result['student']['target']}, {result['data']}"
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.suptitle(f"{title}: {over_seeds(len(result['seeds']))}", fontsize=10)
        return saved(figure, out, result["study"])


def saved(figure: Figure, out: Path, name: str) -> list[Path]:
    """Writes the figure as ``name.svg`` and ``name.png``, the same bytes each time; their paths."""
    written = []
    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        place = out / f"{name}.{kind}"
        with replacing(place) as part:
            figure.savefig(part, format=kind, dpi=160, metadata=metadata)
        written.append(place)
    return written


def over_seeds(seeds: int) -> str:
    """What a figure's numbers are."""
    return "one seed" if seeds == 1 else f"mean and deviation over {seeds} seeds"


def _ablation(figure: Figure, result: Mapping[str, Any]) -> None:
    """Accuracy and loss side by side, the arms in both."""
    accuracy, loss = figure.subplots(1, 2)
    for each in result["curves"]:
        label, look = ARMS[each["arm"]].label, LOOKS[each["arm"]]
        curve(accuracy, label, look, each["top1"])
        curve(loss, label, look, each["train_ce"])
    finish(accuracy, "test top-1 (%)")
    finish(loss, "training cross-entropy (nats)")


def _convergence(figure: Figure, result: Mapping[str, Any]) -> None:
    """One panel a schedule on one scale of accuracy; a thin line at the best that ``neither`` reaches in the longest."""
    schedules = list(dict.fromkeys(each["schedule"] for each in result["curves"]))
    panels = figure.subplots(1, len(schedules), sharey=True, squeeze=False)[0]
    best = next((row["best_top1"] for row in result["sooner"] if row["of"] == LONGEST), None)
    for panel, schedule in zip(panels, schedules, strict=True):
        for each in result["curves"]:
            if each["schedule"] == schedule:
                curve(panel, ARMS[each["arm"]].label, LOOKS[each["arm"]], each["top1"])
        if best is not None:
            panel.axhline(best, color="#666666", linewidth=0.8, label=f"best of neither, {LONGEST}")
        epochs = result["schedules"][schedule]["epochs"]
        panel.set_title(f"{schedule}: {epochs} epoch{'s' if epochs > 1 else ''}", fontsize=9)
        finish(panel, "test top-1 (%)" if panel is panels[0] else "")


def curve(panel: Axes, label: str, look: Look, found: Mapping[str, Any], hollow: bool = False) -> None:
    """The mean, and a band of one deviation to either side where there are several seeds."""
    colour, line, marker = look
    epochs = range(1, len(found["mean"]) + 1)
    every = max(1, len(epochs) // MARKERS)
    drawn: dict[str, Any] = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4, "markevery": every}
    panel.plot(epochs, found["mean"], label=label, markerfacecolor="none" if hollow else colour, **drawn)
    if found["deviation"][0] is None:
        return
    low, high = ([mean + side * d for mean, d in zip(found["mean"], found["deviation"], strict=True)] for side in (-1, 1))
    if len(epochs) == 1:
        panel.errorbar(epochs, found["mean"], yerr=found["deviation"], color=colour, capsize=3, linestyle="none")
    else:
        panel.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def finish(panel: Axes, label: str, across: str = "epochs") -> None:
    """The axes' labels, and whole numbers across."""
    from matplotlib.ticker import MaxNLocator

    panel.set_xlabel(across)
    panel.set_ylabel(label)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
