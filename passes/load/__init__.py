"""From a file, whatever it is called, to a teacher in canonical form. Nothing in a file is ever executed."""

from idsnn_convert.passes.load.teacher import load_teacher

__all__ = ["load_teacher"]
