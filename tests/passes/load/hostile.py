"""An object that would do something if it were unpickled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Hostile:
    """Pickled, it asks whoever unpickles it to make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)
