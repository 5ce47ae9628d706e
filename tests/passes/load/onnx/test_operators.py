from __future__ import annotations

import pytest

pytest.importorskip("onnx")
import onnx

from idsnn_convert.passes.load.onnx.operators import OPERATORS, ROWS


@pytest.mark.parametrize("name", ROWS)
def test_every_row_names_versions_that_there_are(name: str) -> None:
    history = onnx.defs.get_all_schemas_with_history()
    known = {schema.since_version for schema in history if schema.name == name and not schema.domain}
    newest = onnx.defs.onnx_opset_version()
    assert {version for version in ROWS[name].versions if version <= newest} <= known
    assert ROWS[name].make or ROWS[name].fold


def test_a_row_is_found_by_domain_name_and_version() -> None:
    assert OPERATORS["", "Clip", 13] is ROWS["Clip"]
    assert ("", "Clip", 1) not in OPERATORS
    assert len(OPERATORS) == sum(len(row.versions) for row in ROWS.values())
