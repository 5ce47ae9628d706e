"""Networks that ``idsnn teach`` wrote: they carry their own graph, so nothing is recognised and nothing assumed."""

from __future__ import annotations

from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.load.weights import usable
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.ann_file import read_ann
from idsnn_convert.runtime.errors import UserError


def load_ann(request: Request) -> Teacher:
    """The teacher in the file.

    Raises:
        UserError: if it is damaged, or is not what its owner says of it.
    """
    ann = read_ann(request.path)
    size = ann.graph.input_shape[1]
    if request.arch not in (None, ann.arch):
        raise UserError(f"{request.path} holds {ann.arch}, not {request.arch}", hint="Leave out what is in the file.")
    if request.input_size not in (None, size):
        raise UserError(f"{request.path} takes images of {size}x{size}, not {request.input_size}", hint="Leave that out.")
    return Teacher(
        path=str(request.path),
        sha256=request.sha256,
        form="safetensors",
        family="trained by idsnn teach",
        arch=ann.arch,
        graph=ann.graph,
        tensors={name: usable(name, name.rpartition(".")[2], tensor) for name, tensor in ann.tensors.items()},
        keys={name: name for name in ann.tensors},
        normalisation=ann.normalisation,
    )
