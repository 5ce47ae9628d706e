from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import numpy_helper

from idsnn_convert.runtime.export.onnx.emitter import Emitter


def test_names_are_kept_apart() -> None:
    emitter = Emitter(18)
    assert [emitter.call("Relu", ["x"], "y") for _ in range(3)] == ["y", "y_2", "y_3"]
    assert [node.output[0] for node in emitter.nodes] == ["y", "y_2", "y_3"]


def test_small_constants_are_shared_and_keep_their_value() -> None:
    emitter = Emitter(18)
    assert emitter.number(0.25) == emitter.number(0.25) != emitter.number(0.5)
    assert emitter.integers([1, 2]) == emitter.integers((1, 2)) != emitter.integers([12])
    assert numpy_helper.to_array(emitter.constants[emitter.number(0.25)]) == np.float32(0.25)
    assert numpy_helper.to_array(emitter.constants[emitter.integers([1, 2])]).tolist() == [1, 2]
    assert len(emitter.constants) == 4


def test_a_body_takes_no_name_of_the_graph_around_it_and_leaves_its_constants_there() -> None:
    outer = Emitter(18)
    taken = outer.call("Relu", ["x"], "y")
    body = Emitter(18, outer)
    assert body.call("Relu", [taken], "y") != taken
    body.number(3.0)
    assert outer.constants.keys() == body.constants.keys() != set()
    assert len(outer.nodes) == 1
