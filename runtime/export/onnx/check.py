"""Whether an exported model computes what the runtime computes, in stages from the file to the images.

Rounding differs (sums in another order, folded norms), so a potential at its threshold may fall to the other side and
the spikes that follow differ too. Layers are therefore compared one at a time, each on the runtime's own values, which
must agree to :data:`TOLERANCE`; end to end, flipped spikes are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.export.onnx.forms import Subject, alone
from idsnn_convert.runtime.export.onnx.model import model_of, to_onnx
from idsnn_convert.runtime.export.onnx.running import Running
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.graph import Node

TOLERANCE = 1e-5
"""Largest difference of one layer, relative to its largest value where that is above 1."""


@dataclass(frozen=True)
class Exported:
    """A model beside the checkpoint it was written from, and how."""

    model: ModelProto
    checkpoint: Checkpoint
    form: str
    time_steps: int
    opset: int
    folded: bool


def stages(exported: Exported, images: Tensor, real: Sequence[tuple[Tensor, Tensor]] = ()) -> Iterator[Stage]:
    """The comparisons, one by one; after one that failed there are no more.

    Args:
        images: (B, C, H, W), normalised, of the size the checkpoint names.
        real: batches of normalised images and labels (B,), for :func:`on_images`.
    """
    # Form step takes encoded images; any will do, so these stand for themselves.
    given = replace(exported, checkpoint=compare.direct(exported.checkpoint))
    for compared in (_well_formed, _layers, _whole):
        stage = compared(given, images)
        yield stage
        if not stage.passed:
            return
    if real and exported.checkpoint.encoder == given.checkpoint.encoder:
        yield on_images(exported, real)


def _well_formed(exported: Exported, images: Tensor) -> Stage:
    try:
        onnx.checker.check_model(exported.model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return Stage("ONNX's own checker", str(error).splitlines()[0], False, {})
    nodes = len(exported.model.graph.node)
    return Stage("ONNX's own checker", f"well-formed, opset {exported.opset}, {nodes:,} operators", True, {"nodes": nodes})


def _layers(exported: Exported, images: Tensor) -> Stage:
    """Each node alone, on what the runtime gives it."""
    checkpoint = compare.folded(exported.checkpoint) if exported.folded else exported.checkpoint
    graph, network = checkpoint.graph, compare.plain(checkpoint, exported.time_steps)
    subject = Subject(graph, checkpoint.tensors, exported.time_steps, checkpoint.encoder, exported.opset)
    found: dict[str, tuple[float, int]] = {}

    def compared(node: Node) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[node.name] = _difference(subject, node, inputs, output)

        return hook

    for node in graph:
        if node.op not in ("input", "output"):
            network.body.get_submodule(node.name).register_forward_hook(compared(node))
    with torch.no_grad():
        network(images)
    worst = max(found, key=lambda name: found[name][0])
    flips = sum(count for _, count in found.values())
    measured = {"layers": len(found), "largest_difference": found[worst][0], "node": worst, "flipped": flips}
    told = f"{len(found)} layers, each on the runtime's values: {found[worst][0]:.1e} at most ({worst}), {flips} spikes flipped"
    return Stage("Layer by layer", told, found[worst][0] <= TOLERANCE and not flips, measured)


def _difference(subject: Subject, node: Node, inputs: tuple[Tensor, ...], output: Tensor) -> tuple[float, int]:
    """Largest difference relative to the largest value (at least 1), and how many spikes differ."""
    import onnxruntime

    given = dict(zip(dict.fromkeys(node.inputs), inputs, strict=False))
    model = model_of(alone(subject, node), subject.opset)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {f"{name}.given": value.contiguous().numpy() for name, value in given.items()})
    want = output.numpy()
    if node.op == "neuron":
        return 0.0, int((result != want).sum())
    return float(np.abs(result - want).max() / max(1.0, np.abs(want).max())), 0


def _whole(exported: Exported, images: Tensor) -> Stage:
    """All together: flipped spikes of every neuron, and the logits."""
    checkpoint, steps = exported.checkpoint, exported.time_steps
    neurons = tuple(node.name for node in checkpoint.graph.of("neuron"))
    shown = to_onnx(
        checkpoint,
        form=exported.form,
        time_steps=steps,
        opset=exported.opset,
        folded=exported.folded,
        exposed=neurons,
    )
    logits, spikes = Running(shown, exported.form, checkpoint.graph, exposed=neurons)(images.numpy(), steps)
    found = compare.Ran(torch.from_numpy(logits), {name: torch.from_numpy(value) for name, value in spikes.items()})
    published = Running(exported.model, exported.form, checkpoint.graph).answer(images.numpy(), steps, checkpoint.readout)
    same = bool(np.allclose(published, checkpoint.readout(found.logits).numpy(), atol=1e-4))
    return compare.end_to_end(checkpoint, found, compare.ran(checkpoint, images, steps), same)


def on_images(exported: Exported, batches: Iterable[tuple[Tensor, Tensor]]) -> Stage:
    """Both on real images (B, C, H, W), normalised, with labels (B,)."""
    checkpoint, steps = exported.checkpoint, exported.time_steps
    running = Running(exported.model, exported.form, checkpoint.graph)

    def answer(images: Tensor) -> Tensor:
        return torch.from_numpy(running.answer(images.numpy(), steps, checkpoint.readout))

    return compare.on_images("onnxruntime", answer, checkpoint, steps, batches)
