"""A checkpoint or a teacher's network as one ONNX model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onnx import GraphProto, ModelProto, defs, helper
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.encoders import ENCODERS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.about import KEY, about
from idsnn_convert.runtime.export.onnx.forms import FORMS, SPIKING_FORMS, Subject
from idsnn_convert.runtime.fold import fold

OLDEST_OPSET = 17
NEWEST_OPSET = 23
"""What onnxruntime 1.20, the oldest we ask for, does not all read: the default is :data:`USUAL_OPSET`."""
USUAL_OPSET = 18
LARGEST_BYTES = 2_000_000_000
"""A protobuf message ends at 2 GiB."""


def to_onnx(
    checkpoint: Checkpoint,
    *,
    form: str = "unrolled",
    time_steps: int | None = None,
    opset: int = USUAL_OPSET,
    folded: bool = True,
    exposed: tuple[str, ...] = (),
) -> ModelProto:
    """The network of ``checkpoint`` in one of :data:`~idsnn_convert.runtime.export.onnx.forms.FORMS`.

    Args:
        checkpoint: a teacher's canonical graph, which has no neurons, may stand in one too, for form ``ann``.
        time_steps: T of the form ``unrolled``; the checkpoint's own by default.
        folded: batch norms folded into their convolutions.
        exposed: neurons whose spikes are results too.

    Raises:
        UserError: on an unknown form or opset, or an encoder that draws random numbers in a form that holds the encoder.
    """
    fitting = SPIKING_FORMS if checkpoint.graph.of("neuron") else ("ann",)
    if form not in fitting:
        what = "a spiking network" if len(fitting) > 1 else "a network without neurons"
        raise UserError(f"form {form!r} does not exist for {what}", hint=f"Known: {', '.join(fitting)}.")
    if not ENCODERS[checkpoint.encoder].constant and form != "step":
        problem = f"the {checkpoint.encoder} encoder draws random numbers, which form {form!r} would have to hold"
        raise UserError(problem, hint="Form step takes the encoded images of each step instead.")
    steps = checkpoint.time_steps if time_steps is None else time_steps
    _demand_writable(opset, checkpoint.tensors)
    graph, tensors = fold(checkpoint.graph, checkpoint.tensors) if folded else (checkpoint.graph, checkpoint.tensors)
    subject = Subject(graph, tensors, steps, checkpoint.encoder, opset, exposed, checkpoint.readout.decay)
    return model_of(FORMS[form](subject), opset, about(checkpoint, form=form, time_steps=steps))


def _demand_writable(opset: int, tensors: Mapping[str, Tensor]) -> None:
    newest = min(NEWEST_OPSET, defs.onnx_opset_version())
    if not OLDEST_OPSET <= opset <= newest:
        raise UserError(f"opset {opset} cannot be written", hint=f"From {OLDEST_OPSET} to {newest} can.")
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > LARGEST_BYTES:
        raise UserError(f"its tensors have {size:,} bytes; one ONNX file holds {LARGEST_BYTES:,}")


def model_of(graph: GraphProto, opset: int, told: Mapping[str, Any] | None = None) -> ModelProto:
    """The graph as a model; what is ``told`` of it lies under the key ``idsnn`` of its properties."""
    domains = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph, opset_imports=domains, producer_name="idsnn-convert", ir_version=helper.find_min_ir_version_for(domains)
    )
    if told is not None:
        helper.set_model_props(model, {KEY: json.dumps(told, sort_keys=True, allow_nan=False)})
    return model
