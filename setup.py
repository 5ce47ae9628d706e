"""Names the packages, which pyproject.toml cannot find under their installed names; all else stands there."""

from setuptools import find_packages, setup

rooms = find_packages(include=["passes", "passes.*", "runtime", "runtime.*"])
setup(packages=[*find_packages(include=["idsnn_convert", "idsnn_convert.*"]), *(f"idsnn_convert.{name}" for name in rooms)])
