"""Training runs as one page: curves, spikes, energy, mistakes, recipes; of several, in what they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from idsnn_convert.report.chart import Level, Line, chart, legend
from idsnn_convert.report.markup import Markup, tag
from idsnn_convert.report.page import page, scrolled, section, tabled
from idsnn_convert.report.run_measured import confusion_section, energy_of, energy_section
from idsnn_convert.report.run_spikes import firing_section, mean_rate, spikes_section
from idsnn_convert.report.runs import Epoch, Run
from idsnn_convert.report.units import MICRO, joules

CURVES: dict[str, Callable[[Epoch], float | None]] = {
    "Accuracy on test images, %": lambda epoch: epoch.test_top1_percent,
    "Accuracy on training images, %": lambda epoch: epoch.train_top1_percent,
    "Loss on test images": lambda epoch: epoch.test_loss,
    "Loss on training images": lambda epoch: epoch.train_loss,
    "Learning rate": lambda epoch: epoch.lr,
    "Firing rate, mean of all layers, %": mean_rate,
}
"""Title of a chart over the epochs -> what it draws of a run; None where a run has no such thing."""


def run_page(runs: Sequence[Run], baseline: Level | None = None) -> str:
    """A document of its own, without any other file, network or script.

    Args:
        baseline: an accuracy in percent to hold the runs against.
    """
    title = "Training: " + ", ".join(run.name for run in runs)
    parts = _one(runs[0], baseline) if len(runs) == 1 else _several(runs, baseline)
    return page(title, tag("main", tag("header", tag("h1", title)), *parts), styles=("chart.css", "run.css"))


def _one(run: Run, baseline: Level | None) -> list[object]:
    measured = run.probed
    return [
        _subtitle(run),
        _caution(run),
        _headline(run),
        section("Curves", tag("div", _curves_of_one(run, _levels([run], baseline)), class_="charts")),
        firing_section(run.epochs),
        *((spikes_section(measured), energy_section(measured), confusion_section(measured)) if measured else [_how_to(run)]),
        section("How it was trained", _origin(run), _recipes([run])),
        section("Every epoch", _epochs(run)),
    ]


def _several(runs: Sequence[Run], baseline: Level | None) -> list[object]:
    levels = _levels(runs, baseline)
    return [
        section("Results", scrolled("Results", _results(runs))),
        section("Curves", legend([run.name for run in runs]), tag("div", _curves_of_several(runs, levels), class_="charts")),
        section("Recipes", _recipes(runs)),
        section("Every epoch", [_folded(run) for run in runs]),
    ]


def _levels(runs: Sequence[Run], baseline: Level | None) -> list[Level]:
    """The teacher's accuracy, if all who know one know the same, and the baseline."""
    teachers = {(run.probed.teacher.file, run.probed.teacher.top1_percent) for run in runs if run.probed and run.probed.teacher}
    known = [Level("teacher", percent) for _, percent in teachers] if len(teachers) == 1 else []
    return known if baseline is None else [*known, baseline]


def _caution(run: Run) -> Markup | None:
    probed = run.probed
    if probed is None or probed.epoch == run.best.epoch:
        return None
    told = f"Spikes, energy and mistakes were measured after epoch {probed.epoch}; the best epoch now is {run.best.epoch}."
    return tag("p", tag("b", "Caution "), told, class_="caution")


def _subtitle(run: Run) -> Markup:
    """Data, recipe and seed on one line."""
    seed = run.settings.get("run.seed")
    told = [data_told(run), _shown(run.settings.get("description", "")), "" if seed is None else f"seed {seed}"]
    return tag("p", " · ".join(filter(None, told)), class_="muted")


def _headline(run: Run) -> Markup:
    """The few numbers one asks for first, each with what it is to be held against."""
    best, probed = run.best, run.probed
    found = [("best top-1", f"{best.test_top1_percent:.2f} %", f"epoch {_progress(run, best.epoch)}")]
    if probed and probed.teacher:
        gap = best.test_top1_percent - probed.teacher.top1_percent
        found.append(("teacher", f"{probed.teacher.top1_percent:.2f} %", f"student {gap:+.2f}"))
    if steps := len(best.test_top1_percent_per_step):
        found.append(("time steps", str(steps), ""))
    if (rate := mean_rate(best)) is not None:
        found.append(("firing rate", f"{rate:.1f} %", f"mean of {len(best.test_firing_rates)} layers"))
    if probed and probed.energy and probed.energy.points:
        ours, theirs = energy_of(probed.energy)
        ratio = f"{ours / theirs:.2f} of the same without spikes" if ours is not None and theirs else ""
        found.append(("energy of an image", joules(ours, MICRO), ratio))
    found.append(("time", f"{run.seconds / 60:.1f} min", f"{len(run.epochs)} epochs"))
    rows = [tag("div", tag("dt", name), tag("dd", told), tag("dd", note, class_="muted")) for name, told, note in found]
    return tag("dl", rows, class_="headline")


def _progress(run: Run, epoch: int) -> str:
    return f"{epoch} of {run.settings.get('run.epochs', '?')}"


def _how_to(run: Run) -> Markup:
    command = f"idsnn report {run.name} --data SET:DIR --teacher FILE"
    told = "Spikes of an image, energy, mistakes and the teacher's accuracy are shown once they are measured:"
    return section("Not measured yet", tag("p", told), tag("pre", command, tabindex=0, aria_label="Command"))


def _curves_of_one(run: Run, levels: Sequence[Level]) -> list[Markup]:
    """Training and test together; the teacher's and the baseline's accuracy across."""

    def line(name: str, value: Callable[[Epoch], float]) -> Line:
        return Line(name, [(epoch.epoch, value(epoch)) for epoch in run.epochs])

    accuracy = [line("test", lambda at: at.test_top1_percent), line("training", lambda at: at.train_top1_percent)]
    loss = [
        line("test, cross-entropy", lambda at: at.test_loss),
        line("training, as the recipe weighs it", lambda at: at.train_loss),
    ]
    made = [chart("Accuracy, %", accuracy, "epoch", levels, keys=True), chart("Loss, nats", loss, "epoch", keys=True)]
    if steps := run.best.test_top1_percent_per_step:
        title = f"Accuracy by time steps, epoch {run.best.epoch}, %"
        made.append(chart(title, [Line("test", list(enumerate(steps, 1)))], "time steps", levels))
    return [*made, *_over_epochs([run], ("Learning rate",))]


def _curves_of_several(runs: Sequence[Run], levels: Sequence[Level]) -> list[Markup]:
    made = _over_epochs(runs, tuple(CURVES), levels)
    steps = [Line(run.name, list(enumerate(run.best.test_top1_percent_per_step, 1))) for run in runs]
    if all(line.points for line in steps):
        made.insert(1, chart("Accuracy of the best epoch by time steps, %", steps, "time steps", levels))
    return made


def _over_epochs(runs: Sequence[Run], titles: Sequence[str], levels: Sequence[Level] = ()) -> list[Markup]:
    made = []
    for title in titles:
        lines = [
            Line(run.name, [(at.epoch, value) for at in run.epochs if (value := CURVES[title](at)) is not None]) for run in runs
        ]
        if all(line.points for line in lines):
            made.append(chart(title, lines, "epoch", levels if title.startswith("Accuracy on test") else ()))
    return made


def _results(runs: Sequence[Run]) -> Markup:
    titles = ("run", "best top-1 %", "in epoch", "last top-1 %", "epochs", "minutes", "T", "firing %", "teacher %", "energy")
    return tabled([*titles, "data", "made by"], [_result(run) for run in runs], numbers=9)


def _result(run: Run) -> tuple[str, ...]:
    rate, teacher = mean_rate(run.best), run.probed and run.probed.teacher
    return (
        run.name,
        f"{run.best.test_top1_percent:.2f}",
        str(run.best.epoch),
        f"{run.last.test_top1_percent:.2f}",
        _progress(run, run.last.epoch),
        f"{run.seconds / 60:.1f}",
        str(len(run.best.test_top1_percent_per_step) or "-"),
        "-" if rate is None else f"{rate:.1f}",
        f"{teacher.top1_percent:.2f}" if teacher else "-",
        joules(energy_of(run.probed.energy)[0], MICRO) if run.probed and run.probed.energy else "-",
        data_told(run),
        made_told(run),
    )


def data_told(run: Run) -> str:
    facts = run.facts
    return f"{facts['dataset']}, {facts['train_images']:,} / {facts['test_images']:,} images" if facts else ""


def made_told(run: Run) -> str:
    made = run.facts.get("made_by") or run.versions
    return ", ".join(f"{name} {version}" for name, version in made.items())


def _origin(run: Run) -> Markup:
    """Data, seed, versions, and what the network was before."""
    teacher = run.probed and run.probed.teacher
    rows = {
        "Data": data_told(run),
        "Images normalised by": str(run.facts.get("normalisation", {}).get("name", "")),
        "Recipe": _shown(run.settings.get("description", "")),
        "Seed": _shown(run.settings.get("run.seed")),
        "Trained by": made_told(run),
        "Converted by": run.command or "",
        "Teacher": f"{teacher.file}, sha256 {teacher.sha256}" if teacher else "",
        "Measured": f"{run.probed.checkpoint}, sha256 {run.probed.sha256}" if run.probed else "",
    }
    return tag("dl", [(tag("dt", name), tag("dd", told)) for name, told in rows.items() if told])


def _recipes(runs: Sequence[Run]) -> list[Markup]:
    """In what they differ, if there are several; then all of it, folded."""
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    differing = [key for key in keys if len({repr(run.settings.get(key)) for run in runs}) > 1]

    def table(names: Sequence[str]) -> Markup:
        rows = [(name, *(_shown(run.settings.get(name)) for run in runs)) for name in names]
        return scrolled("Settings", tabled(("setting", *(run.name for run in runs)), rows))

    told = "They differ in nothing." if not differing else f"They differ in {len(differing)} of {len(keys)} settings:"
    first = [tag("p", told), table(differing) if differing else None] if len(runs) > 1 else []
    return [*filter(None, first), tag("details", tag("summary", f"All {len(keys)} settings"), table(keys))]


def _shown(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _folded(run: Run) -> Markup:
    return tag("details", tag("summary", run.name), _epochs(run))


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
    return scrolled(f"Epochs of {run.name}", tabled(titles, rows, numbers=6))
