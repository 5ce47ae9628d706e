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
from idsnn_convert.runtime.export.onnx.emitter import Array
from idsnn_convert.runtime.export.onnx.forms import Subject, alone
from idsnn_convert.runtime.export.onnx.model import model_of, to_onnx
from idsnn_convert.runtime.export.onnx.running import Running
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Node
from idsnn_convert.runtime.network import SpikingNetwork

TOLERANCE = 1e-5
"""Largest difference of one layer, relative to its largest value where that is above 1."""
MOST_FLIPS = 0.01
"""Share of all spikes that may differ end to end; rounding alone flips far fewer."""

LEAST_AGREEMENT = 99.0
"""Percent of real images that must get the same answer."""


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
    given = replace(exported, checkpoint=replace(exported.checkpoint, encoder="direct"))
    for compare in (_well_formed, _layers, _whole):
        stage = compare(given, images)
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
    checkpoint = exported.checkpoint
    graph, tensors = fold(checkpoint.graph, checkpoint.tensors) if exported.folded else (checkpoint.graph, checkpoint.tensors)
    network = SpikingNetwork(graph, tensors, exported.time_steps, checkpoint.encoder, fused=False).eval()
    subject = Subject(graph, tensors, exported.time_steps, checkpoint.encoder, exported.opset)
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
    want_logits, want = _run(checkpoint, images, steps)
    logits, spikes = Running(shown, exported.form, checkpoint.graph, exposed=neurons)(images.numpy(), steps)
    readout = checkpoint.readout
    plain = Running(exported.model, exported.form, checkpoint.graph).answer(images.numpy(), steps, readout)
    want_answer, shown_answer = (readout(torch.from_numpy(found)).numpy() for found in (want_logits, logits))
    flips = {name: int((spikes[name] != want[name]).sum()) for name in neurons}
    total, sites = sum(flips.values()), sum(value.size for value in spikes.values())
    first = next((name for name in neurons if flips[name]), None)
    same = int((plain.argmax(-1) == want_answer.argmax(-1)).sum())
    moved = float(np.abs(plain - want_answer).max())
    measured = {"flipped": total, "sites": sites, "first": first, "logits_moved": moved}
    measured |= {"same_answer": same, "images": len(images)}
    fired = f"{total:,} of {sites:,} spikes flipped{f', the first in {first}' if first else ''}; " if sites else ""
    told = f"{fired}logits moved by {moved:.1e} at most; same answer for {same} of {len(images)} images"
    good = total <= MOST_FLIPS * sites and bool(np.allclose(plain, shown_answer, atol=1e-4))
    return Stage("End to end", told, good, measured)


def on_images(exported: Exported, batches: Iterable[tuple[Tensor, Tensor]]) -> Stage:
    """Both on real images: as many right, and the same answers.

    Args:
        batches: images (B, C, H, W), normalised, and labels (B,).
    """
    checkpoint, steps = exported.checkpoint, exported.time_steps
    network = SpikingNetwork(checkpoint.graph, checkpoint.tensors, steps, checkpoint.encoder, fused=False).eval()
    running = Running(exported.model, exported.form, checkpoint.graph)
    count = ours = theirs = same = 0
    with torch.inference_mode():
        for images, labels in batches:
            want = checkpoint.readout(network(images)).argmax(1)
            got = torch.from_numpy(running.answer(images.numpy(), steps, checkpoint.readout)).argmax(1)
            count += len(labels)
            ours += int((want == labels).sum())
            theirs += int((got == labels).sum())
            same += int((want == got).sum())
    top1, agreed = (100 * ours / count, 100 * theirs / count), 100 * same / count
    measured = {"images": count, "top1_percent": top1[0], "top1_percent_onnxruntime": top1[1], "same_answer_percent": agreed}
    told = (
        f"top-1 {top1[1]:.2f} % in onnxruntime, {top1[0]:.2f} % in the runtime, the same answer for {agreed:.2f} % of {count:,}"
    )
    return Stage("Real images", told, abs(ours - theirs) <= max(2, 0.002 * count) and agreed >= LEAST_AGREEMENT, measured)


def _run(checkpoint: Checkpoint, images: Tensor, steps: int) -> tuple[Array, dict[str, Array]]:
    """The runtime's logits (T, B, K) and every neuron's spikes (T*B, ...)."""
    network = SpikingNetwork(checkpoint.graph, checkpoint.tensors, steps, checkpoint.encoder, fused=False).eval()
    spikes: dict[str, Array] = {}

    def kept(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: spikes.update({name: output.numpy()})

    for node in checkpoint.graph.of("neuron"):
        network.body.get_submodule(node.name).register_forward_hook(kept(node.name))
    with torch.no_grad():
        return network(images).numpy(), spikes
