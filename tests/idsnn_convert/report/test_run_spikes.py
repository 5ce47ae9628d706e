from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from idsnn_convert.report.run_spikes import COLUMNS, ROW, TRACED, firing_section, mean_rate, spikes_section
from idsnn_convert.report.runs import Epoch
from tests.idsnn_convert.report.test_html import Reader
from tests.idsnn_convert.report.test_probed import made
from tests.idsnn_convert.report.test_runs import row


def image(**trace: Any) -> dict[str, Any]:
    """The image of :func:`made` with another layer."""
    found = made().model_dump()["image"]
    return {**found, "layers": [{**found["layers"][0], **trace}]}


def panel(**trace: Any) -> ElementTree.Element:
    (found,) = spikes_section(made(image=image(**trace)))
    figures = ElementTree.fromstring(found.replace('class="pixels">', 'class="pixels"/>'))
    return list(figures.iter("figure"))[-1]


def test_every_spike_is_one_mark_at_its_step_and_row() -> None:
    spikes = [[True, False, True], [False, False, False], [False, True, False], [False, False, True]]
    potentials = [[0.9, 0.1, 0.8], [0.1, 0.1, 0.2], [0.3, 0.6, 0.1], [0.1, 0.2, 0.55]]
    figure = panel(neurons=[1, 5, 8, 9], spikes=spikes, potentials=potentials)
    raster = next(svg for svg in figure.iter("svg") if svg.get("class") == "raster")
    assert (raster.get("viewBox"), raster.get("height")) == ("0 0 3 4", str(4 * ROW))
    marks = {str(path.get("class")): str(path.get("d")) for path in raster.iter("path")}
    assert marks["fired look0"].split("z")[:-1] == ["M0.08 0.1h.84v.8h-.84", "M2.08 0.1h.84v.8h-.84"]
    assert [mark[:9] for mark in marks["fired look1"].split("z")[:-1]] == ["M1.08 2.1"]
    assert "fired" not in marks  # the three neurons that fired came highest
    assert "4 neurons over 3 steps, 3 of them fired" in str(raster.get("aria-label"))


def test_the_highest_potentials_are_traced() -> None:
    figure = panel()
    traces = next(svg for svg in figure.iter("svg") if svg.get("class") == "traces")
    titles = [str(title.text) for title in traces.iter("title")]
    assert titles == ["neuron 3, step 1: 0.2", "neuron 3, step 2: 0.7", "neuron 7, step 1: 0.1", "neuron 7, step 2: 0.1"]
    heights = [float(str(dot.get("cy"))) for dot in traces.iter("circle")]
    level = float(str(next(line for line in traces.iter("line")).get("y1")))
    assert heights[1] < level < heights[0]
    assert TRACED == 3


@pytest.mark.parametrize(
    "lists", [{"neurons": [], "spikes": [], "potentials": []}, {"potentials": [[], []], "spikes": [[], []]}]
)
def test_a_layer_without_neurons_or_steps_is_drawn_empty(lists: dict[str, Any]) -> None:
    assert len(list(panel(**lists).iter("circle"))) == 0


def test_without_an_image_nothing_is_shown() -> None:
    assert spikes_section(made(image=None)) == []


def test_firing_rates_are_percent_and_thinned_to_a_screen() -> None:
    epochs = [
        Epoch.model_validate(row(at, test_firing_rates={"a": at / 1000, "b": 0.25} if at > 1 else {"b": 0.25}))
        for at in range(1, 51)
    ]
    (found,) = firing_section(epochs)
    read = Reader(found)
    assert "every 3 epochs" in read.text
    assert read.tags.count("th") == 1 + 18 + 2  # the corner, epochs 1, 4, ... 49 and 50, two layers
    assert COLUMNS >= 18
    assert "5.0" in read.text  # epoch 50 of layer a
    assert firing_section([Epoch.model_validate(row(1))]) == []


def test_the_mean_rate_is_in_percent() -> None:
    assert mean_rate(Epoch.model_validate(row(1, test_firing_rates={"a": 0.25, "b": 0.5}))) == 37.5
    assert mean_rate(Epoch.model_validate(row(1))) is None
