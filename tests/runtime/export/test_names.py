from __future__ import annotations

from idsnn_convert.runtime.export.names import flat_names
from idsnn_convert.runtime.graph import Graph, Node


def test_every_name_is_an_identifier_of_its_own() -> None:
    given = ("x", "a.b", "a_b", "a.b_", "0.conv", "class", "named.modules", "torch")
    found = flat_names(Graph(tuple(Node(name, "flatten") for name in given)), taken=("torch",))
    assert list(found) == list(given)
    assert len(set(found.values())) == len(given)
    assert all(name.isidentifier() for name in found.values())
    assert (found["a.b"], found["a_b"], found["a.b_"]) == ("a_b", "a_b_", "a_b__")
    assert found["0.conv"] == "_0_conv"
    assert (found["class"], found["named.modules"], found["torch"]) == ("class_", "named_modules_", "torch_")
