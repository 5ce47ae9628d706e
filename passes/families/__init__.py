"""From the names and shapes in a bare state dict to the residual network it belongs to."""

from idsnn_convert.passes.families.recognise import Candidate, recognise

__all__ = ["Candidate", "recognise"]
