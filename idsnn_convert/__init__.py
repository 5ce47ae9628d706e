"""Turn a trained ResNet into a spiking network you can train, run and ship."""

from pathlib import Path

__version__ = "0.1.0"

# A checkout that is not installed: passes/ and runtime/ stand beside this folder instead of inside it.
if (_beside := Path(__file__).resolve().parent.parent) and (_beside / "passes" / "__init__.py").is_file():
    __path__.append(str(_beside))
