"""The LaSNN study's curves over epochs, and the spikes of each layer after its Fig. 7: PNG and SVG.

matplotlib is an optional package (extra ``plot``), imported only here and only when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idsnn_convert.study.lasnn.plan import ANN, ARMS, CONVERTED, LASNN
from idsnn_convert.study.plots import STYLE, Look, curve, finish, over_seeds, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS: dict[str, Look] = {
    "ann": ("#666666", ":", "o"),
    "converted": ("#000000", ":", "x"),
    "hybrid": ("#0072B2", "--", "s"),
    "label-kd": ("#E69F00", "-.", "^"),
    "spike-kd": ("#CC79A7", (0, (1, 1)), "v"),
    "lasnn": ("#009E73", "-", "D"),
    "lasnn-gradient": ("#D55E00", (0, (5, 1)), "P"),
}
"""Arm -> colour, line and marker (Okabe & Ito 2008)."""
OTHERS = ("--", ":", "-.")
"""Lines of further teachers' runs, whose markers are hollow."""


def draw(result: Mapping[str, Any], out: Path) -> list[Path]:
    """Writes ``lasnn.svg`` and ``lasnn.png`` into the folder ``out``, and gives their paths.

    Args:
        result: what :func:`idsnn_convert.study.lasnn.run.run_lasnn` gives.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        FigureCanvasAgg(figure)
        accuracy, spikes = figure.subplots(1, 2)
        _accuracy(accuracy, result)
        _spikes(spikes, result)
        handles, labels = accuracy.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        student, over = result["student"], over_seeds(len(result["seeds"]))
        figure.suptitle(f"spiking {student['target']}, T = {student['time_steps']}, {result['data']}: {over}", fontsize=10)
        return saved(figure, out, "lasnn")


def _accuracy(panel: Axes, result: Mapping[str, Any]) -> None:
    """The arms over their epochs; the network they come from, and it converted, as lines across, on the table's images."""
    teachers = list(result["teachers"])
    for each in result["curves"]:
        if each["arm"] != ANN:
            colour, line, marker = LOOKS[each["arm"]]
            many = each["arm"] == LASNN and len(teachers) > 1
            place = teachers.index(each["teacher"]) if many else 0
            by = f", {each['teacher']}" if many else ""
            look = (colour, OTHERS[(place - 1) % len(OTHERS)] if place else line, marker)
            curve(panel, ARMS[each["arm"]].label + by, look, each["top1"], hollow=bool(place))
    for row in result["rows"]:
        if row["arm"] in (ANN, CONVERTED):
            colour, line, _ = LOOKS[row["arm"]]
            label = f"{ARMS[row['arm']].label}, on {result['test_images']:,} images"
            panel.axhline(row["top1"]["mean"], color=colour, linestyle=line, label=label)
    finish(panel, f"top-1 (%) on {result['test_images_each_epoch']:,} test images")


def _spikes(panel: Axes, result: Mapping[str, Any]) -> None:
    """How often a neuron of each layer spikes; of several teachers' runs the first's."""
    shown: set[str] = set()
    for row in result["rows"]:
        if row["layers"] and row["arm"] not in shown:
            shown.add(row["arm"])
            colour, line, marker = LOOKS[row["arm"]]
            counts = [layer["spikes"]["mean"] for layer in row["layers"]]
            panel.plot(range(1, len(counts) + 1), counts, color=colour, linestyle=line, marker=marker, markersize=4)
    panel.set_ylim(bottom=0)
    finish(panel, "spikes per neuron, all steps", "neuron layer")
