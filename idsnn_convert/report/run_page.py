"""Training runs as one page: curves, accuracy by time steps, and in what their recipes differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from idsnn_convert.report.chart import Line, chart, legend
from idsnn_convert.report.markup import Markup, tag
from idsnn_convert.report.page import page, scrolled, section
from idsnn_convert.report.runs import Epoch, Run

CURVES: dict[str, Callable[[Epoch], float]] = {
    "Accuracy on test images, %": lambda epoch: epoch.test_top1_percent,
    "Accuracy on training images, %": lambda epoch: epoch.train_top1_percent,
    "Loss on test images": lambda epoch: epoch.test_loss,
    "Loss on training images": lambda epoch: epoch.train_loss,
    "Learning rate": lambda epoch: epoch.lr,
}
"""Title of a chart over the epochs -> what it draws."""


def run_page(runs: Sequence[Run]) -> str:
    """A document of its own, without any other file, network or script."""
    title = "Training: " + ", ".join(run.name for run in runs)
    main = tag(
        "main",
        tag("h1", title),
        section("Results", scrolled("Results", _results(runs))),
        section("Curves", legend([run.name for run in runs]), tag("div", _curves(runs), class_="charts")),
        section("Recipes", _recipes(runs)),
        section("Every epoch", [_epochs(run) for run in runs]),
    )
    return page(title, main, styles=("run.css",))


def _curves(runs: Sequence[Run]) -> list[Markup]:
    made = [
        chart(title, [Line(run.name, [(epoch.epoch, value(epoch)) for epoch in run.epochs]) for run in runs], "epoch")
        for title, value in CURVES.items()
    ]
    steps = [Line(run.name, list(enumerate(run.last.test_top1_percent_per_step, 1))) for run in runs]
    if all(line.points for line in steps):
        made.insert(1, chart("Accuracy of the last epoch by time steps, %", steps, "time steps"))
    return made


def _results(runs: Sequence[Run]) -> Markup:
    titles = ("run", "best top-1 %", "in epoch", "last top-1 %", "epochs", "minutes", "data", "made by")
    return _table(titles, [_result(run) for run in runs], numbers=5)


def _result(run: Run) -> tuple[str, ...]:
    facts = run.facts
    data = f"{facts['dataset']}, {facts['train_images']:,} / {facts['test_images']:,} images" if facts else ""
    return (
        run.name,
        f"{run.best.test_top1_percent:.2f}",
        str(run.best.epoch),
        f"{run.last.test_top1_percent:.2f}",
        f"{run.last.epoch} of {run.settings.get('run.epochs', '?')}",
        f"{run.seconds / 60:.1f}",
        data,
        ", ".join(f"{name} {version}" for name, version in run.versions.items()),
    )


def _recipes(runs: Sequence[Run]) -> list[Markup]:
    """In what they differ, if there are several; then all of it, folded."""
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    differing = [key for key in keys if len({repr(run.settings.get(key)) for run in runs}) > 1]

    def table(names: Sequence[str]) -> Markup:
        rows = [(name, *(_shown(run.settings.get(name)) for run in runs)) for name in names]
        return scrolled("Settings", _table(("setting", *(run.name for run in runs)), rows))

    told = "They differ in nothing." if not differing else f"They differ in {len(differing)} of {len(keys)} settings:"
    first = [tag("p", told), table(differing) if differing else None] if len(runs) > 1 else []
    return [*filter(None, first), tag("details", tag("summary", f"All {len(keys)} settings"), table(keys))]


def _shown(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _epochs(run: Run) -> Markup:
    titles = ("epoch", "lr", "train loss", "train top-1 %", "test loss", "test top-1 %", "seconds")
    rows = [
        (
            str(at.epoch),
            f"{at.lr:.4g}",
            f"{at.train_loss:.4f}",
            f"{at.train_top1_percent:.2f}",
            f"{at.test_loss:.4f}",
            f"{at.test_top1_percent:.2f}",
            f"{at.train_seconds + at.test_seconds:.1f}",
        )
        for at in run.epochs
    ]
    return tag("details", tag("summary", run.name), scrolled(f"Epochs of {run.name}", _table(titles, rows, numbers=6)))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> Markup:
    """``numbers``: so many columns behind the first stand on the right."""

    def side(i: int) -> str | None:
        return "number" if 1 <= i <= numbers else None

    head = tag("tr", [tag("th", title, scope="col", class_=side(i)) for i, title in enumerate(titles)])
    body = [
        tag("tr", tag("th", row[0], scope="row"), [tag("td", cell, class_=side(i)) for i, cell in enumerate(row[1:], 1)])
        for row in rows
    ]
    return tag("table", tag("thead", head), tag("tbody", body))
