"""Balanced thresholds and the accuracy that time steps buy, on a conversion's page."""

from __future__ import annotations

import math

from idsnn_convert.report import summary
from idsnn_convert.report.chart import Level, Line, chart
from idsnn_convert.report.markup import Markup, tag
from idsnn_convert.report.page import scrolled, section, tabled
from idsnn_convert.report.record import Balance, Curve


def balance_section(balance: Balance) -> Markup:
    """How thresholds were set, each of them, and the curve if it was measured."""
    rows = [(row.neuron, f"{row.v_threshold:.6g}", f"{row.unit:.6g}") for row in balance.thresholds]
    return section(
        "Balanced thresholds",
        tag("p", summary.balance_told(balance), class_="muted"),
        None if balance.curve is None else accuracy(balance.curve),
        scrolled("Thresholds", tabled(("neuron", "threshold", "unit"), rows, numbers=2)),
        tag("p", "An activation is the unit times the rate of spikes.", class_="muted"),
    )


def accuracy(curve: Curve) -> Markup:
    """Top-1 against T on a logarithmic axis, held against the network without spikes."""
    points = [(math.log10(step), top1) for step, top1 in zip(curve.steps, curve.top1, strict=True)]
    title = f"Top-1 of {curve.images:,} test images, %"
    return chart(title, [Line("student", points)], "time steps", [Level("without spikes", curve.ann_top1)], powers=True)
