"""From a file, whatever it is called, to a teacher in canonical form. Nothing in a file is ever executed."""

from idsnn_convert.passes.load.live import teacher_from_module
from idsnn_convert.passes.load.teacher import load_teacher

__all__ = ["load_teacher", "teacher_from_module"]
