"""Turn a trained ResNet into a spiking network you can train, run and ship."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout, passes/ and runtime/ stand beside this folder; installed, they stand inside it.
_home = Path(__file__).resolve().parent
if not (_home / "passes").is_dir():
    __path__.append(str(_home.parent))
