from __future__ import annotations

import json

import pytest

from idsnn_convert.measure import Energy
from idsnn_convert.report.energy import described_energy, print_energy
from idsnn_convert.runtime.synops import LayerWork, NeuronWork, Work

STEM = LayerWork("stem", "conv2d", False, (100.0, 100.0), 200, once=True)
BODY = LayerWork("bo[d]y", "conv2d", True, (10.0, 30.0), 400, once=False)
FOUND = Energy(Work(5, (STEM, BODY), (NeuronWork("n", 8, (2.0, 4.0)),), (50.0, 60.0)), "half")


def test_every_layer_and_the_sums_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_energy(FOUND)
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["bo[d]y", "spikes", "5.0", "40"] in rows
    assert ["1", "50.00", "10", "100", "469", "pJ", "yes"] in rows
    assert ["loihi", "944", "pJ", "-", "-", "fetched"] in rows
    assert "40 accumulations and 200 multiply-accumulates an image" in out
    assert "600 multiply-accumulates an image" in out
    assert "stem computes the same at every step; computed once, 100 of these fall away." in out


def test_described_is_json_with_every_number() -> None:
    told = json.loads(json.dumps(described_energy(FOUND)))
    assert told["layers"][1] == {
        "name": "bo[d]y",
        "op": "conv2d",
        "inputs": "spikes",
        "operations_per_step": [10.0, 30.0],
        "dense_operations_of_a_step": 400,
        "density": 0.05,
        "same_at_every_step": False,
    }
    assert told["neurons"] == [{"name": "n", "neurons": 8, "spikes_per_step": [2.0, 4.0], "rate": 0.375}]
    assert told["without_spikes"]["dense_macs"] == 600
    assert [point["effective_acs"] for point in told["points"]] == [10.0, 40.0]
