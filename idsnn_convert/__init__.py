"""Turn a trained ResNet into a spiking network you can train, run and ship.

The functions are imported when they are first asked for, so that ``import idsnn_convert`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idsnn_convert.front import (
        Balancing,
        Settings,
        UserError,
        convert,
        doctor,
        energy,
        evaluate,
        export,
        from_pretrained,
        inspect,
        load,
        save_pretrained,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "Balancing",
    "Settings",
    "UserError",
    "convert",
    "doctor",
    "energy",
    "evaluate",
    "export",
    "from_pretrained",
    "inspect",
    "load",
    "save_pretrained",
    "train",
]

# In a checkout, passes/ and runtime/ stand beside this folder; installed, they stand inside it.
_home = Path(__file__).resolve().parent
if not (_home / "passes").is_dir():
    __path__.append(str(_home.parent))


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module("idsnn_convert.front"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
