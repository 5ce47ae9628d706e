"""What an export compared, as text and as JSON."""

from __future__ import annotations

from typing import Any

from idsnn_convert.formats import Exported
from idsnn_convert.report.text import console, paragraph, safe
from idsnn_convert.runtime.export.types import Stage


def print_stage(stage: Stage) -> None:
    """A comparison, as soon as it is made."""
    paragraph(stage.found, f"{'passed' if stage.passed else 'FAILED'}  {stage.name}: ")


def print_export(found: Exported) -> None:
    """How it ended."""
    if found.path is None:
        console().print("\nNothing was written: what the file computes is not what the runtime computes.")
    else:
        console().print(f"\nWrote [bold]{safe(found.path)}[/] ({found.size:,} bytes).", soft_wrap=True)


def described_export(found: Exported) -> dict[str, Any]:
    """The export as JSON-native values; ``file`` is None where a comparison failed."""
    stages = [
        {"name": stage.name, "passed": stage.passed, "found": stage.found, "measured": dict(stage.measured)}
        for stage in found.stages
    ]
    return {"file": None if found.path is None else str(found.path), "bytes": found.size, "stages": stages}
