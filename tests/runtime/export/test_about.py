from __future__ import annotations

import json
from dataclasses import replace

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.about import about
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3, teacher={"arch": "resnet20", "sha256": "ab", "path": "x"})


def test_it_is_json_and_says_how_the_answer_comes_about() -> None:
    told = about(replace(STUDENT, normalisation={"name": "n", "mean": [0.5], "std": [0.2]}), form="scan", time_steps=7)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["time_steps"], told["form"], told["encoder"]) == (7, "scan", "direct")
    assert told["normalisation"]["mean"] == [0.5]
    assert len(told["neurons"]) == len(GRAPH.of("neuron"))


def test_of_the_teacher_it_names_what_and_no_place() -> None:
    assert about(STUDENT)["teacher"] == {"arch": "resnet20", "sha256": "ab"}
