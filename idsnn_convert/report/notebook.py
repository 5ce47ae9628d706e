"""Results as tables for a notebook: markup without script, every name in it escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from idsnn_convert.examine import Diagnosis
from idsnn_convert.formats import Exported
from idsnn_convert.learn import Training
from idsnn_convert.measure import Energy
from idsnn_convert.normalised import Normalised
from idsnn_convert.report.markup import Markup, joined, tag
from idsnn_convert.report.page import tabled
from idsnn_convert.report.summary import TIMES, dims
from idsnn_convert.report.units import MICRO, joules
from idsnn_convert.runtime.evaluate import Evaluation


def titled(title: str, *content: object) -> Markup:
    """``content`` under a bold line."""
    return joined(tag("p", tag("b", title)), *content)


def _pairs(rows: Sequence[tuple[str, str]]) -> Markup:
    return tag("table", tag("tbody", [tag("tr", tag("th", name, scope="row"), tag("td", told)) for name, told in rows]))


def teacher_html(facts: Mapping[str, Any]) -> Markup:
    """What :func:`idsnn_convert.report.data.described_teacher` tells."""
    stages = [
        (str(index), str(len(stage["blocks"])), dims(stage["shape"], TIMES)) for index, stage in enumerate(facts["stages"], 1)
    ]
    about = [
        ("file", f"{facts['file']}, {facts['form']}"),
        ("images", f"{dims(facts['input_shape'], TIMES)}, {facts['classes']} classes"),
        ("parameters", f"{facts['parameters']:,} values in {facts['tensors']} tensors"),
        *(("assumed", sentence) for sentence in facts["assumptions"]),
    ]
    return titled(
        f"{facts['arch']} ({facts['family']})", _pairs(about), tabled(("stage", "blocks", "shape"), stages, numbers=1)
    )


def evaluation_html(found: Evaluation, chosen: Normalised) -> Markup:
    """A measurement, and the accuracy after each step."""
    top5 = "" if found.top5 is None else f", top-5 {found.top5:.2f} %"
    title = f"top-1 {found.top1:.2f} %{top5}, loss {found.loss:.4f}"
    told = f"{found.images:,} images, {chosen.normalisation.name} normalisation, {found.images_per_second:,.0f} images/s"
    steps = [(str(t), f"{share:.2f}") for t, share in enumerate(found.top1_per_step, 1)]
    return titled(title, tag("p", told), tabled(("T", "top-1 %"), steps, numbers=1) if len(steps) > 1 else None)


def training_html(training: Training) -> Markup:
    """How a run ended."""
    result = training.result
    rows = [
        ("best", f"{result.best_top1:.2f}", str(result.best_epoch), str(result.best)),
        ("last", f"{result.last_top1:.2f}", str(result.epochs), str(result.last)),
    ]
    if result.best_ema is not None:
        rows.append(("moving average", f"{result.best_ema_top1:.2f}", "", str(result.best_ema)))
    return titled(training.brief(), tabled(("", "top-1 %", "epoch", "file"), rows, numbers=2))


def export_html(found: Exported) -> Markup:
    """What was compared, and what was written."""
    rows = [(stage.name, "passed" if stage.passed else "FAILED", stage.found) for stage in found.stages]
    return titled(found.brief(), tabled(("compared", "", "found"), rows))


def energy_html(found: Energy) -> Markup:
    """Energy by every model, spiking and not."""
    spiking, plain = found.point(found.work.time_steps)["joules"], found.ann()
    rows = [(name, joules(value, MICRO), joules(plain[name], MICRO)) for name, value in spiking.items()]
    return titled(found.brief(), tabled(("an image, by", "spiking", "without spikes"), rows, numbers=2))


def diagnosis_html(found: Diagnosis) -> Markup:
    """Why it does not convert, and what to know."""
    rows = [("problem", each.reason, each.advice) for each in found.problems]
    rows += [("caution", each.reason, each.advice) for each in found.cautions]
    return titled(found.brief(), tabled(("", "what", "what to do"), rows) if rows else None)
